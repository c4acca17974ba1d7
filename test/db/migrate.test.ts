import { readFile } from 'node:fs/promises'
import { sql } from 'kysely'
import { Migrator } from 'kysely/migration'
import pg from 'pg'
import t from 'tap'
import { migrate, migrateToLatest } from '../../src/db/migrate.ts'
import { lockMigrations } from '../../src/db/migration-dialect.ts'
import type { MigrationWait } from '../../src/db/migration-waits.ts'
import { openDatabase } from '../../src/db/open.ts'
import { dumpSchema } from '../../src/db/schema-dump.ts'
import { createEmptyDatabase } from '../support/database.ts'
import { until } from '../support/lifecycle.ts'

const committed = await readFile(new URL('../../migrations/schema.sql', import.meta.url), 'utf8')

t.test('the migrations make of an empty PostgreSQL what migrations/schema.sql says', async (t) => {
  const database = await createEmptyDatabase(t)
  const { db } = database
  t.match((await migrateToLatest(database))[0], /^0001_/)
  t.equal(await dumpSchema(db), committed, 'else: node src/cli.ts schema > migrations/schema.sql')
  t.same(await migrateToLatest(database), [], 'and applied again they change nothing')
  t.equal(await dumpSchema(db), committed)
})

t.test('the dump sees a change of any kind', async (t) => {
  const database = await createEmptyDatabase(t)
  const { db } = database
  await migrateToLatest(database)
  for (const change of [
    'alter table leases add column note text',
    'alter table leases alter column purpose set not null',
    'alter table leases alter column purpose type varchar(10)',
    'alter table leases alter column organization type text collate "C"',
    "alter table leases alter column purpose set default ''",
    'alter table leases drop constraint leases_pkey',
    'drop index leases_by_connection',
    "alter table access_keys drop constraint access_keys_role_check, add constraint access_keys_role_check check (role <> '')",
    'create table more (id uuid)',
    'drop trigger renew_instances on instances',
    "create or replace function renew_directories_of_added() returns trigger language plpgsql as 'begin return null; end'",
  ]) {
    const before = await dumpSchema(db)
    await sql.raw(change).execute(db)
    t.not(await dumpSchema(db), before, change)
  }
})

t.test('three processes that start at once on an empty database migrate it once', async (t) => {
  const { url, db } = await createEmptyDatabase(t)
  const pools = [1, 2, 3].map(() => openDatabase({ databaseUrl: url, dataDir: '', poolSize: 2 }))
  t.teardown(() => Promise.all(pools.map(({ close }) => close())))
  const applied = await Promise.all(pools.map((pool) => migrateToLatest(pool)))
  t.equal(applied.filter((names) => names.length > 0).length, 1)
  t.equal(await dumpSchema(db), committed)
  const { rows } = await sql`select from instances`.execute(db)
  t.equal(rows.length, 1)
})

const WAITING = {
  name: 'waiting',
  text: "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
}

t.test('a migration waits for a claim that is under way in another process, and harms none', async (t) => {
  const database = await createEmptyDatabase(t)
  const { db } = database
  const migrations = { '0001_initial': await import('../../migrations/0001_initial.ts') }
  await new Migrator({ db, provider: { getMigrations: async () => migrations } }).migrateToLatest()
  await sql`
    insert into connections (
      id, organization, instance_id, method, token_kind, gitlab_user_id, status, scopes, token_version, access_token,
      token_issued_at, created_at, updated_at
    ) select gen_random_uuid(), 'acme', id, 'token', 'personal_access_token', '1', 'active', '{}', 1, 'none',
      now(), now(), now() from instances`.execute(db)

  let migrating: Promise<string[]> | undefined
  await db.transaction().execute(async (claim) => {
    await sql`select from connections for update`.execute(claim)
    migrating = migrateToLatest(database)
    while ((await database.runPrepared(WAITING, [])).length === 0)
      await new Promise((resolve) => setImmediate(resolve))
    await sql`update connections set attempt_id = gen_random_uuid()`.execute(claim)
  })
  t.match(await migrating, ['0002_lookups_by_url', '0003_match_versions', '0004_expiry_index'])
  t.equal(await dumpSchema(db), committed)
})

t.test('a lookup that has the tables in another order than a migration is not failed by it', async (t) => {
  const database = await createEmptyDatabase(t)
  const { db } = database
  await sql`create table one (id int)`.execute(db)
  await sql`create table two (id int)`.execute(db)
  const lookup = new pg.Client({ connectionString: database.url })
  await lookup.connect()
  t.teardown(() => lookup.end())
  let tries = 0
  const up = async (migrating: typeof db) => {
    tries += 1
    await sql`alter table one add column more int`.execute(migrating)
    await sql`alter table two add column more int`.execute(migrating)
  }
  await lookup.query('begin')
  await lookup.query('select from two')
  const migrating = migrate(database, { migrations: { '0001_initial': { up } } })
  await until(async () => (await database.runPrepared(WAITING, [])).length > 0)
  await lookup.query('select from one')
  await lookup.query('commit')
  t.same((await migrating).applied, ['0001_initial'])
  t.ok(tries > 1, 'the migration gave way')
})

t.test(
  'a migration that waits for a lock names who has it, and waits longer with each tenth try',
  async (t) => {
    const database = await createEmptyDatabase(t)
    await sql`create table busy (id int)`.execute(database.db)
    const holder = new pg.Client({
      connectionString: database.url,
      application_name: 'somebody at a console',
    })
    await holder.connect()
    t.teardown(() => holder.end())
    const { rows } = await holder.query('select pg_backend_pid() as pid')
    await holder.query('begin')
    await holder.query('select from busy')
    const patience: string[] = []
    const up = async (migrating: typeof database.db) => {
      const { rows } = await sql<{ lock_timeout: string }>`show lock_timeout`.execute(migrating)
      patience.push(rows[0]!.lock_timeout)
      await sql`alter table busy add column more int`.execute(migrating)
    }
    const waits: MigrationWait[] = []
    const onWaiting = (wait: MigrationWait) => void waits.push(wait)
    const migrating = migrate(database, { migrations: { '0001_initial': { up } }, onWaiting })
    await until(() => waits.length > 0 && patience.length > 10)
    const blocker = { pid: rows[0].pid, application: 'somebody at a console', state: 'idle in transaction' }
    t.match(waits, [{ blockers: [blocker] }])
    t.ok(waits[0]!.seconds >= 5)
    t.equal(waits.length, 1, 'once a minute')
    t.same(patience.slice(8, 11), ['200ms', '900ms', '200ms'])
    await holder.query('commit')
    t.same((await migrating).applied, ['0001_initial'])
  },
)

t.test('a migration that waits for another process that migrates says so', async (t) => {
  const database = await createEmptyDatabase(t)
  const other = openDatabase({ databaseUrl: database.url, dataDir: '', poolSize: 1 })
  t.teardown(() => other.close())
  const { promise: gone, resolve: go } = Promise.withResolvers<void>()
  const { promise: locked, resolve: hasLocked } = Promise.withResolvers<void>()
  const first = other.patientDb.transaction().execute(async (transaction) => {
    await lockMigrations(transaction)
    hasLocked()
    await gone
  })
  await locked
  const { promise: waiting, resolve: onWaiting } = Promise.withResolvers<MigrationWait>()
  const migrating = migrate(database, { onWaiting })
  t.match(await waiting, { blockers: [{ application: 'gitlab-token-broker' }] })
  go()
  await first
  t.match((await migrating).applied[0], /^0001_/)
})
