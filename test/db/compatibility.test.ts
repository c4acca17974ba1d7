import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sql } from 'kysely'
import { Migrator } from 'kysely/migration'
import t, { type Test } from 'tap'
import { type MigrationModule, migrate, readSchemaState } from '../../src/db/migrate.ts'
import { judgeSchema } from '../../src/db/schema-state.ts'
import { createEmptyDatabase, createTestDatabase } from '../support/database.ts'
import { until } from '../support/lifecycle.ts'
import { freePort } from '../support/postgres.ts'
import { startMain } from '../support/process.ts'

const MIGRATIONS = new URL('../../migrations/', import.meta.url)

const load = async (): Promise<Record<string, MigrationModule>> => {
  const names = (await readdir(MIGRATIONS)).filter((name) => /^\d{4}_\w+\.ts$/.test(name)).sort()
  return Object.fromEntries(
    await Promise.all(
      names.map(async (name) => [name.replace('.ts', ''), await import(new URL(name, MIGRATIONS).href)]),
    ),
  )
}

const adds = (column: string, more: Partial<MigrationModule> = {}): MigrationModule => ({
  up: (db) => sql.raw(`alter table leases add column ${column} text`).execute(db) as unknown as Promise<void>,
  ...more,
})

t.test('judgeSchema', async (t) => {
  const ours = ['0001', '0002']
  t.same(judgeSchema([], ours, undefined), { kind: 'to_migrate', missing: ours })
  t.same(judgeSchema(['0001'], ours, undefined), { kind: 'to_migrate', missing: ['0002'] })
  t.same(judgeSchema(ours, ours, undefined), { kind: 'current' })
  t.same(judgeSchema([...ours, '0003'], ours, undefined), { kind: 'newer', unknown: ['0003'] })
  t.same(judgeSchema([...ours, '0003'], ours, '0002'), { kind: 'newer', unknown: ['0003'] })
  t.match(judgeSchema([...ours, '0003', '0004'], ours, '0003'), { kind: 'unusable', reason: /know 0003/ })
  t.match(judgeSchema(['0001', '0003'], ours, undefined), { kind: 'unusable', reason: /lacks 0002/ })
})

const environment = async (t: Test, url: string, port: number) => ({
  DATA_DIR: t.testdir({}),
  DATABASE_URL: url,
  HOST: '127.0.0.1',
  PORT: String(port),
  MASTER_KEY: Buffer.alloc(32, 1).toString('base64'),
})

type Readiness = { code?: string; checks: { name: string; outcome: string; detail: string }[] }

const readinessOf = async (port: number) => {
  const answer = await fetch(`http://127.0.0.1:${port}/readyz`)
  const { code, checks } = (await answer.json()) as Readiness
  return { status: answer.status, code, schema: checks.find(({ name }) => name === 'schema') }
}

t.test('beside a schema that a newer version expanded', async (t) => {
  const database = await createTestDatabase(t)
  const ours = await load()
  const newer = { ...ours, '9001_expands': adds('note') }
  t.same((await migrate(database, { migrations: newer })).applied, ['9001_expands'])

  await t.test('this version starts, serves, is ready, and changes nothing', async (t) => {
    t.same(await migrate(database), { applied: [], unknown: ['9001_expands'] })
    const port = await freePort()
    const broker = startMain(t, await environment(t, database.url, port))
    await broker.listening()
    t.match(broker.output(), /a newer version migrated the database; this one can live with it/)
    t.match(await readinessOf(port), { status: 200, schema: { outcome: 'ok', detail: /9001_expands/ } })
    t.match(await broker.stop(), { code: 0, errors: '' })
  })

  await t.test(
    'the first versions, whose migrator knows three names, find them and nothing else',
    async (t) => {
      const first = Object.fromEntries(Object.entries(ours).filter(([name]) => name < '0004'))
      const { error } = await new Migrator({
        db: database.db,
        provider: { getMigrations: async () => first },
      }).migrateToLatest()
      t.equal(error, undefined)
    },
  )

  await t.test(
    'what a version must know is declared by the migration that takes something away',
    async (t) => {
      const contracting = { ...newer, '9002_contracts': adds('other', { oldestNeighbour: '9001_expands' }) }
      t.same((await migrate(database, { migrations: contracting })).applied, ['9002_contracts'])
      t.match(
        await migrate(database, { migrations: newer }),
        { unknown: ['9002_contracts'] },
        'the version before lives with it',
      )
      await t.rejects(migrate(database), {
        name: 'SchemaError',
        message: /only versions that know 9001_expands/,
      })
      t.match(await readSchemaState(database.db), { kind: 'unusable' })

      const port = await freePort()
      const broker = startMain(t, await environment(t, database.url, port))
      await broker.said(/"msg":"not ready yet"/)
      t.match(await readinessOf(port), {
        status: 503,
        code: 'not_ready',
        schema: { outcome: 'failed', detail: /only versions that know 9001_expands/ },
      })
      t.match(await broker.stop(), { code: 0, errors: '' })
    },
  )
})

t.test('a migration that takes away what the version before uses says so', async (t) => {
  // The name of an index is in no statement.
  const TAKES_AWAY =
    /drop (table|column|view)|(?<!alter index \w+ )rename |alter column \w+ (set not null|type)/i
  for (const [name, { oldestNeighbour }] of Object.entries(await load())) {
    const text = await readFile(new URL(`${name}.ts`, MIGRATIONS), 'utf8')
    if (TAKES_AWAY.test(text)) t.type(oldestNeighbour, 'string', `${name} names its oldestNeighbour`)
    else t.pass(name)
  }
})

t.test('a migration that is killed is taken up by the next start', async (t) => {
  const database = await createEmptyDatabase(t)
  const { db, url } = database
  const first = { '0001_initial': (await load())['0001_initial']! }
  await new Migrator({ db, provider: { getMigrations: async () => first } }).migrateToLatest()
  const env = {
    DATABASE_URL: url,
    DATA_DIR: join(t.testdirName, 'none'),
    MASTER_KEY: Buffer.alloc(32, 1).toString('base64'),
  }
  const script = ['src/cli.ts', 'migrate']
  await db.transaction().execute(async (other) => {
    await sql`lock table connections in access share mode`.execute(other)
    const killed = startMain(t, env, { script })
    const isWaiting = async () =>
      (
        await sql`select from pg_locks where not granted and relation = 'connections'::regclass`.execute(
          other,
        )
      ).rows.length > 0
    await until(isWaiting)
    killed.kill('SIGKILL')
    t.equal((await killed.ended).code, null)
  })
  const { code, output } = await startMain(t, env, { script }).ended
  t.equal(code, 0)
  t.match(output, /^Applied 0002_lookups_by_url, 0003_match_versions/)
  t.match(await readSchemaState(db), { kind: 'current' })
})
