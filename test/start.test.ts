import { Agent, get, type IncomingHttpHeaders } from 'node:http'
import { connect } from 'node:net'
import { sql } from 'kysely'
import t from 'tap'
import { createEmptyDatabase, createTestDatabase } from './support/database.ts'
import { until } from './support/lifecycle.ts'
import { freePort } from './support/postgres.ts'
import { startMain } from './support/process.ts'
import { startProxy } from './support/proxy.ts'

const TELLING_SIGNALS = new URL('./support/telling-signals.ts', import.meta.url).href
const MASTER_KEY = Buffer.alloc(32, 1).toString('base64')
const BOOTSTRAP_ADMIN_KEY = 'FAKE-admin-key-0123456789-0123456789'

type Answer = { status: number | undefined; headers: IncomingHttpHeaders; text: string }

const ask = (port: number, path: string, agent?: Agent): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${BOOTSTRAP_ADMIN_KEY}` }
    get({ port, path, headers, agent: agent ?? false }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      })
      response.once('end', () => resolve({ status: response.statusCode, headers: response.headers, text }))
    }).once('error', reject)
  })

const isOpen = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })

const environment = (port: number, url: string, dataDir: string) => ({
  DATA_DIR: dataDir,
  DATABASE_URL: url,
  PORT: String(port),
  HOST: '127.0.0.1',
  MASTER_KEY,
  BOOTSTRAP_ADMIN_KEY,
})

t.test(
  'a process whose database is away listens, says why it is not ready, and becomes so by itself',
  async (t) => {
    const { url } = await createEmptyDatabase(t)
    const door = await startProxy(t, url)
    await door.cut()
    const port = await freePort()
    const broker = startMain(t, environment(port, door.url, t.testdir({})))
    await until(() => isOpen(port))
    t.equal((await ask(port, '/healthz')).status, 200)
    await until(async () => {
      const ready = await ask(port, '/readyz')
      t.equal(ready.status, 503)
      t.ok(Number(ready.headers['retry-after']) >= 1)
      const { code, checks } = JSON.parse(ready.text)
      t.equal(code, 'database_unavailable')
      return checks.some(
        ({ name, outcome, detail }: Record<string, string>) =>
          name === 'database' && outcome === 'failed' && /ECONNREFUSED/.test(detail ?? ''),
      )
    })
    t.equal((await ask(port, '/connect')).status, 503)
    for (const path of ['/v1/instances', '/v1/credentials?url=https://gitlab.com/a/b']) {
      const { status, headers, text } = await ask(port, path)
      t.equal(status, 503, path)
      t.equal(JSON.parse(text).code, 'database_unavailable')
      t.ok(Number(headers['retry-after']) >= 1)
    }

    await door.restore()
    await broker.listening()
    t.equal((await ask(port, '/readyz')).status, 200)
    t.equal(
      (await ask(port, '/v1/instances')).status,
      200,
      'the schema, the keys and the first admin key are there',
    )
    const { code, output, errors } = await broker.stop()
    t.equal(code, 0)
    t.equal(errors, '')
    const lines = output.split('\n').filter((line) => line.includes('"database_unavailable"'))
    t.equal(lines.length, 1, 'one line for the outage')
    t.notMatch(output, new URL(url).password)
  },
)

t.test(
  'SIGTERM ends a start that waits for its database, and one that waits for another migration',
  async (t) => {
    const database = await createEmptyDatabase(t)
    const gone = Object.assign(new URL(database.url), { port: String(await freePort()) }).href
    const port = await freePort()
    const waiting = startMain(t, environment(port, gone, t.testdir({})))
    await waiting.said(/"msg":"not ready yet"/)
    t.match(await waiting.stop(), { code: 0, errors: '' })

    // What Kysely locks while it migrates.
    await database.db.transaction().execute(async (migrating) => {
      await sql`select pg_advisory_xact_lock(3853314791062309107)`.execute(migrating)
      const late = startMain(t, environment(port, database.url, t.testdir({})))
      const isWaiting = async () =>
        (await sql`select from pg_locks where locktype = 'advisory' and not granted`.execute(migrating)).rows
          .length > 0
      await until(isWaiting)
      t.match(JSON.parse((await ask(port, '/readyz')).text), { status: 503, code: 'not_ready' })
      t.match(await late.stop(), { code: 0, errors: '' })
    })
  },
)

t.test('SIGTERM is heard long before the process serves, and ends it well at any moment', async (t) => {
  const { url } = await createTestDatabase(t)
  const port = await freePort()
  const nodeArgs = ['--import', TELLING_SIGNALS]
  const start = () => startMain(t, environment(port, url, t.testdir({})), { nodeArgs })

  const loading = start()
  await loading.said(/it hears SIGTERM/)
  t.notOk(await isOpen(port), 'it only loads its own code')
  t.match(await loading.stop(), { code: 0, errors: '', output: /^(it hears SIG\w+\n)+$/ })

  const opening = start()
  await opening.said(/Server listening at/)
  t.match(await opening.stop(), { code: 0, errors: '' })

  const env = { DATA_DIR: t.testdir({}), PORT: String(await freePort()) }
  const embedded = startMain(t, env)
  await embedded.said(/Server listening at/)
  t.match(await embedded.stop(), { code: 0, errors: '' })
  const again = startMain(t, env)
  await again.listening()
  t.match(await again.stop(), { code: 0, errors: '' }, 'and the next start finds nothing half done')
})

t.test(
  'an end is announced: not ready at once, served all the same, connections closed one by one',
  async (t) => {
    const { url } = await createTestDatabase(t)
    const port = await freePort()
    const env = { ...environment(port, url, t.testdir({})), SHUTDOWN_DELAY_SECONDS: '2' }
    const broker = startMain(t, env)
    await broker.listening()
    const agent = new Agent({ keepAlive: true, maxSockets: 4 })
    t.teardown(() => agent.destroy())
    t.equal((await ask(port, '/readyz', agent)).headers.connection, 'keep-alive')

    broker.kill('SIGTERM')
    const toldAt = performance.now()
    await broker.said(/"msg":"shutting down"/)
    const draining = await ask(port, '/readyz', agent)
    t.equal(draining.status, 503)
    t.equal(draining.headers.connection, 'close')
    t.match(JSON.parse(draining.text), { code: 'draining', checks: [{ name: 'serving', outcome: 'failed' }] })
    const statuses = new Set<number | undefined>()
    let served = 0
    while (performance.now() - toldAt < 1_500) {
      const [kept, fresh] = await Promise.all([ask(port, '/v1/instances', agent), ask(port, '/v1/instances')])
      statuses.add(kept.status).add(fresh.status)
      served += 2
    }
    t.same([...statuses], [200], `${served} requests were served`)
    t.match(await broker.ended, { code: 0, errors: '' })
    t.ok(performance.now() - toldAt >= 2_000, 'not before the delay is over')
  },
)
