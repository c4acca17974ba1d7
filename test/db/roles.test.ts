import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import t, { type Test } from 'tap'
import { openDatabase } from '../../src/db/open.ts'
import { startTestBroker } from '../support/broker.ts'
import { createEmptyDatabase } from '../support/database.ts'
import { freePort } from '../support/postgres.ts'

const ROOT = join(import.meta.dirname, '../..')
const MASTER_KEY = Buffer.alloc(32, 1).toString('base64')
const BOOTSTRAP_ADMIN_KEY = 'FAKE-admin-key-0123456789-0123456789'
/** Roles belong to all databases of the server: every run gives them the same. */
const PASSWORDS = {
  MIGRATE_PASSWORD: 'FAKE-migrate-password',
  SERVE_PASSWORD: 'FAKE-serve-password',
  AUDIT_PASSWORD: "FAKE-audit-'password'",
}

const cli = async (args: string[], env: Record<string, string> = {}): Promise<string> =>
  (
    await promisify(execFile)(process.execPath, ['src/cli.ts', ...args], {
      cwd: ROOT,
      env: { PATH: process.env.PATH ?? '', ...env },
    })
  ).stdout

const as = (url: string, role: 'migrate' | 'serve' | 'audit'): string =>
  Object.assign(new URL(url), {
    username: `broker_${role}`,
    password: PASSWORDS[`${role.toUpperCase()}_PASSWORD` as keyof typeof PASSWORDS],
  }).href

const connect = async (t: Test, url: string): Promise<pg.Client> => {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  t.teardown(() => client.end())
  return client
}

const REFUSED = { code: '42501' }
const KEY = { name: 'FAKE', role: 'scanner', organizations: ['acme'] }

t.test('each role may do its work and no more', async (t) => {
  const { url } = await createEmptyDatabase(t)
  t.match(await cli(['roles', 'apply'], { DATABASE_URL: url, ...PASSWORDS }), 'broker_serve')
  t.match(await cli(['migrate'], { DATABASE_URL: as(url, 'migrate') }), '0001_initial')

  await t.test('a broker serves and does its background work with the serving role', async (t) => {
    const port = await freePort()
    const child = spawn(process.execPath, ['src/main.ts'], {
      cwd: ROOT,
      env: {
        PATH: process.env.PATH ?? '',
        PORT: String(port),
        HOST: '127.0.0.1',
        DATA_DIR: t.testdir(),
        DATABASE_URL: as(url, 'serve'),
        MASTER_KEY,
        BOOTSTRAP_ADMIN_KEY,
        LOG_LEVEL: 'debug',
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.teardown(() => child.kill('SIGKILL'))
    let log = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      log += text
    })
    const ended = once(child, 'exit')
    const logged = async (text: string) => {
      while (!log.includes(text)) await Promise.race([once(child.stdout, 'data'), ended])
    }
    await logged('"msg":"listening"')
    const key = await fetch(`http://127.0.0.1:${port}/v1/access-keys`, {
      method: 'POST',
      headers: { authorization: `Bearer ${BOOTSTRAP_ADMIN_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify(KEY),
    })
    t.equal(key.status, 201, await key.text())
    const admin = await connect(t, url)
    const workers = async () => (await admin.query('select from pgboss.schedule')).rowCount
    while (((await workers()) ?? 0) < 4) await new Promise((resolve) => setTimeout(resolve, 20))
    child.kill('SIGTERM')
    t.same(await ended, [0, null])
    t.notMatch(log, /permission denied|background work (failed|does not begin)/)
    t.equal((await admin.query('select from audit_events')).rowCount, 1, 'the act is recorded')
  })

  await t.test('the serving role makes no table, and changes nothing of the record', async (t) => {
    const serve = await connect(t, as(url, 'serve'))
    for (const statement of [
      'delete from audit_events',
      "update audit_events set action = 'FAKE'",
      'truncate audit_events',
      'drop table audit_events',
      'alter table audit_events disable trigger all',
      'create table mine (id int)',
      'create table pgboss.mine (id int)',
      'create schema mine',
      'create temporary table mine (id int)',
      'create role mine',
      'set role broker_migrate',
      'delete from kysely_migration',
      "copy audit_events to program 'true'",
    ])
      await t.rejects(serve.query(statement), REFUSED, statement)
    t.equal((await serve.query('select from audit_events')).rowCount, 1)
    await t.resolves(serve.query('delete from leases'))
    const retention = "select * from delete_audit_before(now() - interval '2 days', 10)"
    await t.resolves(serve.query(retention), 'the one declared path')
    await t.rejects(serve.query(retention.replace('2 days', '1 hour')), /kept for a day/)
  })

  await t.test('the auditing role reads the record, and no secret', async (t) => {
    const audit = await connect(t, as(url, 'audit'))
    t.equal((await audit.query('select from audit_events')).rowCount, 1)
    t.equal((await audit.query('select from leases')).rowCount, 0)
    for (const statement of [
      'select from connections',
      'select from access_keys',
      'select from data_keys',
      'delete from audit_events',
      'insert into leases select from leases',
      'create table mine (id int)',
      'select from pgboss.job',
    ])
      await t.rejects(audit.query(statement), REFUSED, statement)
  })

  await t.test('the migrating role is no superuser either', async (t) => {
    const migrate = await connect(t, as(url, 'migrate'))
    await t.rejects(migrate.query("copy leases to program 'true'"), REFUSED)
    await t.rejects(migrate.query('create role mine'), REFUSED)
    await t.resolves(migrate.query('create table mine (id int)'))
  })

  await t.test('the background work of the serving role deletes what is old', async (t) => {
    const admin = await connect(t, url)
    const database = openDatabase({ databaseUrl: as(url, 'serve'), dataDir: '', poolSize: 3 })
    t.teardown(() => database.close())
    const masterKeys = [Buffer.from(MASTER_KEY, 'base64')]
    const broker = await startTestBroker(t, { database, masterKeys })
    await admin.query(
      "insert into heartbeats (node_id, beat, at) values (gen_random_uuid(), 1, '2020-01-01')",
    )
    await t.resolves(broker.jobs.deleteOld(), 'the old seals of the record are among it')
    t.equal((await admin.query("select from heartbeats where at < '2021-01-01'")).rowCount, 0)
  })

  await t.test('what is there already is taken over, and a second time changes nothing', async (t) => {
    for (let times = 0; times < 2; times += 1) {
      await cli(['roles', 'apply'], { DATABASE_URL: url, ...PASSWORDS })
      t.match(await cli(['migrate'], { DATABASE_URL: as(url, 'migrate') }), 'up to date')
    }
    const serve = await connect(t, as(url, 'serve'))
    await t.rejects(serve.query('delete from audit_events'), REFUSED)
  })
})

t.test('a database that a superuser made is handed to the migrating role', async (t) => {
  const { url } = await createEmptyDatabase(t)
  await cli(['migrate'], { DATABASE_URL: url })
  await cli(['roles', 'apply'], { DATABASE_URL: url, ...PASSWORDS })
  await cli(['migrate'], { DATABASE_URL: as(url, 'migrate') })
  const admin = await connect(t, url)
  const { rows } = await admin.query(
    "select tablename from pg_tables where schemaname in ('public', 'pgboss') and tableowner <> 'broker_migrate'",
  )
  t.same(rows, [])
})

t.test('the SQL is printed for those who would rather run it themselves, without a password', async (t) => {
  const text = await cli(['roles'])
  t.match(text, 'broker_migrate')
  t.notMatch(text, /password/i)
  const { url } = await createEmptyDatabase(t)
  const admin = await connect(t, url)
  await t.resolves(admin.query(text))
  await t.resolves(admin.query(text))
})

t.test('what is missing is named', async (t) => {
  const fails = async (args: string[], env: Record<string, string>, message: RegExp) => {
    const { stderr } = await cli(args, env).then(
      () => ({ stderr: 'it went well' }),
      (error: { stderr: string }) => error,
    )
    t.match(stderr, message)
  }
  await fails(['roles', 'apply'], PASSWORDS, /^DATABASE_URL is needed/)
  await fails(['roles', 'apply'], { DATABASE_URL: 'postgres://FAKE@127.0.0.1:1/x' }, /^MIGRATE_PASSWORD or/)
  await fails(['roles', 'drop'], {}, /^Usage: roles/)
})
