import { connect } from 'node:net'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { openDatabase } from '../../src/db/open.ts'
import { setStage, startTestBroker } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { createTestDatabase } from '../support/database.ts'
import { startProxy } from '../support/proxy.ts'

const behindADoor = async (t: Test) => {
  const { url } = await createTestDatabase(t)
  const door = await startProxy(t, url)
  const database = openDatabase({ databaseUrl: door.url, dataDir: '', poolSize: 3 })
  t.teardown(database.close)
  return { url, database, door }
}

t.test('an unexpected error is a masked 500; the log has it under the request_id', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const { id } = await connectToken(stage)
  await sql`drop table leases`.execute(broker.db)
  await sql`drop table audit_events`.execute(broker.db)
  const body = { organization: 'acme' }
  for (const answer of [
    await broker.get(`/v1/connections/${id}/credential`),
    await broker.get(`/v1/credentials?organization=acme&url=${stage.simulator.url}/acme/web-shop`),
    await broker.post('/v1/connect-sessions', body),
  ]) {
    t.equal(answer.status, 500)
    t.equal(answer.headers.get('content-type'), 'application/problem+json')
    t.same(answer.body, {
      type: 'about:blank',
      title: 'Something went wrong here',
      status: 500,
      detail: 'Something went wrong here; the log has it under the request_id.',
      code: 'internal_error',
      request_id: answer.headers.get('x-request-id'),
    })
    const logged = broker.logLines
      .map((line) => JSON.parse(line))
      .find(({ request_id, level }) => request_id === answer.body.request_id && level === 'error')
    t.match(logged, { msg: 'unexpected error', err: { code: '42P01', stack: /^error: relation/ } })
  }
  t.same(await broker.db.selectFrom('connect_sessions').select('id').execute(), [], 'and nothing half done')
})

t.test('while the database is away calls are told so, and work again when it is back', async (t) => {
  const { database, door } = await behindADoor(t)
  const stage = await setStage(t, { broker: { database } })
  const { broker } = stage
  const { id } = await connectToken(stage)
  const calls = [
    () => broker.get(`/v1/connections/${id}/credential`),
    () => broker.get(`/v1/credentials?organization=acme&url=${stage.simulator.url}/acme/web-shop`),
    () => broker.get('/v1/connections'),
    () => broker.post('/v1/access-keys', { name: 'x', role: 'scanner', organizations: ['acme'] }),
    () => broker.get('/readyz', { key: null }),
  ]
  for (const call of calls) t.ok((await call()).status < 300)

  await door.cut()
  for (const call of calls) {
    const answer = await call()
    t.match(answer, { status: 503, body: { code: 'database_unavailable', request_id: String } })
    t.ok(Number(answer.headers.get('retry-after')) >= 1)
  }
  t.equal((await broker.get('/healthz', { key: null })).status, 200, 'the process itself is well')
  t.notOk(
    broker.logLines.some((line) => line.includes('unexpected error')),
    'and this is no unexpected error',
  )
  const refusals = broker.logLines.filter((line) => line.includes('"code":"database_unavailable"'))
  t.ok(
    refusals.some((line) => /"cause":"ECONN/.test(line)),
    'the log has the cause',
  )
  t.notOk(
    refusals.some((line) => line.includes('stack')),
    'and not the same stack for every request',
  )

  await door.restore()
  for (const call of calls) t.ok((await call()).status < 300)
})

t.test('a query under way when the database goes is told so too', async (t) => {
  const { url, database, door } = await behindADoor(t)
  const other = openDatabase({ databaseUrl: url, dataDir: '', poolSize: 1 })
  t.teardown(other.close)
  const broker = await startTestBroker(t, { database })
  await other.db.transaction().execute(async (transaction) => {
    await sql`lock table access_keys in access exclusive mode`.execute(transaction)
    const waiting = broker.get('/v1/instances')
    // The call is in the database when PostgreSQL says that somebody waits for the lock.
    const isWaiting = async () =>
      (await sql`select from pg_locks where not granted`.execute(transaction)).rows.length > 0
    while (!(await isWaiting())) await new Promise((resolve) => setImmediate(resolve))
    await door.cut()
    t.match((await waiting).body, { code: 'database_unavailable' })
  })
  await door.restore()
  t.equal((await broker.get('/v1/instances')).status, 200)
})

t.test('what is no HTTP gets an answer that is, and harms nobody', async (t) => {
  const broker = await startTestBroker(t)
  const { port } = new URL(broker.url)
  const answer = await new Promise<string>((resolve, reject) => {
    const socket = connect(Number(port), '127.0.0.1', () => socket.write('FAKE nonsense\r\n\r\n'))
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk
    })
    socket.once('close', () => resolve(text))
    socket.once('error', reject)
  })
  t.match(answer, /^HTTP\/1\.1 400 /)
  t.notMatch(answer, /at .*\.(ts|js):/)
  t.equal((await broker.get('/healthz', { key: null })).status, 200)
})
