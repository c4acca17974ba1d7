import { randomBytes } from 'node:crypto'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import type { Database } from '../../src/db/database.ts'
import { openDatabase } from '../../src/db/open.ts'
import { watchDatabase } from '../../src/db/watch.ts'
import { createLogger } from '../../src/log.ts'
import { type Answer, setStage, startTestBroker } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { createEmptyDatabase, createTestDatabase } from '../support/database.ts'
import { until } from '../support/lifecycle.ts'
import { freePort, startCluster } from '../support/postgres.ts'

type LogLine = { msg: string; level: string; cause?: string }

/** A watched database, and what was logged of it. */
const openWatched = (t: Test, databaseUrl: string) => {
  const database = openDatabase({ databaseUrl, dataDir: '', poolSize: 4 })
  const lines: string[] = []
  const logger = createLogger('info', { write: (line: string) => void lines.push(line) })
  const watch = watchDatabase(database, logger, { clockWarningMs: 2_000, beatMs: 100 })
  t.teardown(async () => {
    watch.stop()
    await database.close()
  })
  return { database, logged: () => lines.map((line) => JSON.parse(line) as LogLine) }
}

/** A broker that works on its database as a user who may be locked out. */
const setUp = async (t: Test) => {
  const admin = await createTestDatabase(t)
  const { pathname } = new URL(admin.url)
  const name = pathname.slice(1)
  const role = `role_${randomBytes(6).toString('hex')}`
  const elsewhere = await createEmptyDatabase(t)
  const run = (statement: string) => sql.raw(statement).execute(admin.db)
  /** From another database: nobody closes the one at hand. */
  const runOutside = (statement: string) => sql.raw(statement).execute(elsewhere.db)
  await run(`create role ${role} login password 'FAKE-password'`)
  await run(`grant all on all tables in schema public to ${role}`)
  const url = Object.assign(new URL(admin.url), { username: role, password: 'FAKE-password' }).href
  const { database, logged } = openWatched(t, url)
  t.teardown(async () => {
    await database.close()
    await run(`drop owned by ${role}`)
    await run(`drop role ${role}`)
  })
  const stage = await setStage(t, { broker: { database } })
  const { id } = await connectToken(stage)
  const { broker } = stage
  const calls: (() => Promise<Answer>)[] = [
    () => broker.get(`/v1/connections/${id}/credential`),
    () => broker.get(`/v1/credentials?organization=acme&url=${stage.simulator.url}/acme/web-shop`),
    () => broker.get('/v1/connections'),
    () => broker.post('/v1/connect-sessions', { organization: 'acme' }),
    () => broker.get('/readyz', { key: null }),
  ]
  return { run, runOutside, name, role, calls, logged, broker }
}

const endSessions = (role: string) =>
  `select pg_terminate_backend(pid) from pg_stat_activity where usename = '${role}'`

type Setting = { name: string; role: string }
type Way = { what: string; cause: RegExp; harm(of: Setting): string[]; cure(of: Setting): string[] }

const WAYS: Way[] = [
  {
    what: 'its password was rotated',
    cause: /^28P01: password authentication failed/,
    harm: ({ role }) => [`alter role ${role} password 'FAKE-other'`, endSessions(role)],
    cure: ({ role }) => [`alter role ${role} password 'FAKE-password'`],
  },
  {
    what: 'its user may not log in',
    cause: /^28000: role .* is not permitted to log in/,
    harm: ({ role }) => [`alter role ${role} nologin`, endSessions(role)],
    cure: ({ role }) => [`alter role ${role} login`],
  },
  {
    what: 'it is closed to connections',
    cause: /^55000: database .* is not currently accepting connections/,
    harm: ({ name, role }) => [`alter database ${name} with allow_connections false`, endSessions(role)],
    cure: ({ name }) => [`alter database ${name} with allow_connections true`],
  },
  {
    what: 'it takes no more connections',
    cause: /^53300: too many connections/,
    harm: ({ role }) => [`alter role ${role} connection limit 0`, endSessions(role)],
    cure: ({ role }) => [`alter role ${role} connection limit -1`],
  },
  {
    what: 'it is read-only',
    cause: /is read-only/,
    harm: ({ name, role }) => [
      `alter database ${name} set default_transaction_read_only = on`,
      endSessions(role),
    ],
    cure: ({ name }) => [`alter database ${name} reset default_transaction_read_only`],
  },
]

t.test(
  'a database that is away is 503 for every call, one line in the log, and one when it is back',
  async (t) => {
    const { runOutside, calls, logged, broker, ...setting } = await setUp(t)
    for (const { what, cause, harm, cure } of WAYS) {
      await t.test(what, async (t) => {
        const before = logged().length
        for (const statement of harm(setting)) await runOutside(statement)
        for (const call of [...calls, ...calls]) {
          const answer = await call()
          t.match(answer, { status: 503, body: { code: 'database_unavailable' } }, answer.text)
          t.ok(Number(answer.headers.get('retry-after')) >= 1)
        }
        t.match(
          logged().slice(before),
          [{ level: 'error', msg: 'the database cannot be used' }],
          'one line, whatever the number of requests',
        )
        const { body } = await calls.at(-1)!()
        t.match(body.detail, cause, 'the readiness says why')
        for (const statement of cure(setting)) await runOutside(statement)
        for (const call of calls) t.ok((await call()).status < 300, 'at once')
        await until(() => logged().length > before + 1)
        t.match(logged().slice(before + 1), [{ level: 'info', msg: 'the database can be used again' }])
      })
    }
    t.notOk(broker.logLines.some((line) => line.includes('unexpected error')))
  },
)

t.test('what the database refuses to one statement is 503 as well', async (t) => {
  const { run, role, calls, broker } = await setUp(t)
  await run(`revoke insert on leases from ${role}`)
  t.match(
    await calls[0]!(),
    { status: 503, body: { code: 'database_unavailable' } },
    'a right that is missing',
  )
  await run(`grant insert on leases to ${role}`)
  const raise = (code: string) =>
    run(`create or replace function fail() returns trigger language plpgsql
      as 'begin raise exception ''FAKE'' using errcode = ''${code}''; end'`)
  await raise('58030')
  await run('create trigger fail before insert on leases execute function fail()')
  // The I/O error of a disk, a disk that is full, a deadlock, a conflict with recovery, an index that is damaged.
  for (const code of ['58030', '53100', '40P01', '40001', 'XX002']) {
    await raise(code)
    t.match(await calls[0]!(), { status: 503, body: { code: 'database_unavailable' } }, code)
  }
  await raise('53100')
  await calls[0]!()
  t.match(await broker.get('/readyz', { key: null }), {
    status: 503,
    body: {
      checks: [
        { name: 'serving' },
        { name: 'database', outcome: 'ok' },
        { name: 'writable', outcome: 'failed', detail: /53100/ },
      ],
    },
  })
  await raise('22003')
  t.equal((await calls[0]!()).status, 500, 'a value that does not fit is a fault of ours')
})

t.test('a server that shuts down, is gone, or recovers from a crash', async (t) => {
  const cluster = await startCluster()
  t.teardown(() => cluster.stop())
  const database = await createDatabaseOn(t, cluster.url)
  const broker = await startTestBroker(t, { database })
  const statuses = new Set<string>()
  let asking = true
  const ask = async () => {
    while (asking) {
      const { status, body } = await broker.get('/v1/instances')
      statuses.add(`${status} ${body?.code ?? ''}`.trim())
    }
  }
  const askers = [ask(), ask()]
  for (const how of ['shut down', 'crash'] as const) {
    await cluster.halt(how)
    await until(async () => (await broker.get('/v1/instances')).status === 503)
    await cluster.resume()
    await until(async () => (await broker.get('/v1/instances')).status === 200)
  }
  asking = false
  await Promise.all(askers)
  t.same([...statuses].sort(), ['200', '503 database_unavailable'])
})

const createDatabaseOn = async (t: Test, url: string) => {
  const { migrateToLatest } = await import('../../src/db/migrate.ts')
  const database = openDatabase({ databaseUrl: url, dataDir: '', poolSize: 4 })
  t.teardown(() => database.close())
  await migrateToLatest(database)
  return database
}

const failureOf = (db: Database) =>
  sql`select 1`.execute(db).then(
    () => 'none',
    (error: unknown) => error,
  )

t.test('a way to the server that does not lead there', async (t) => {
  const { isDatabaseUnavailable } = await import('../../src/db/database.ts')
  const { url } = await createTestDatabase(t)
  const gone = await freePort()
  for (const [what, change] of [
    ['no server', { hostname: 'localhost', port: String(gone) }],
    ['a name that nobody knows', { hostname: 'database.invalid' }],
    ['a network that is not there', { hostname: '240.0.0.1' }],
    ['a server without TLS', { search: '?sslmode=verify-full' }],
    ['a database that does not exist', { pathname: '/nowhere' }],
    ['no password', { password: '' }],
  ] as const) {
    const database = openDatabase({
      databaseUrl: (Object.assign(new URL(url), change) as URL).href,
      dataDir: '',
      poolSize: 2,
    })
    t.teardown(() => database.close())
    const failure = await failureOf(database.db)
    t.ok(isDatabaseUnavailable(failure), `${what}: ${failure}`)
  }
})
