import { createHash } from 'node:crypto'
import t from 'tap'
import { allowedReturnUrl, resultUrl } from '../../src/connect-sessions/connect-session.ts'
import { startTestBroker } from '../support/broker.ts'

t.test('connect links', async (t) => {
  const broker = await startTestBroker(t)

  t.test('are shown once, for an hour, and stored as a hash', async (t) => {
    const { status, headers, body } = await broker.post('/v1/connect-sessions', { organization: 'acme' })
    t.equal(status, 201)
    t.equal(headers.get('cache-control'), 'no-store')
    const url = new URL(body.url)
    t.equal(url.origin + url.pathname, `${broker.url}/connect`)
    const token = url.searchParams.get('session')!
    t.match(token, /^gcs_[\w-]{43}$/)
    t.equal(body.expires_at, new Date(broker.clock() + 3_600_000).toISOString())
    const row = await broker.db.selectFrom('connect_sessions').selectAll().executeTakeFirstOrThrow()
    t.match(row, {
      organization: 'acme',
      methods: ['oauth', 'device', 'token'],
      return_url: null,
      used_at: null,
    })
    t.same(Buffer.from(row.token_sha256), createHash('sha256').update(token).digest())
  })

  t.test('live as long as was asked for, up to a day', async (t) => {
    for (const expires_in of [60, 86_400]) {
      const { body } = await broker.post('/v1/connect-sessions', { organization: 'acme', expires_in })
      t.equal(body.expires_at, new Date(broker.clock() + expires_in * 1000).toISOString())
    }
    for (const expires_in of [59, 86_401, 100.5]) {
      const { body } = await broker.post('/v1/connect-sessions', { organization: 'acme', expires_in })
      t.match(body.errors, [{ field: 'expires_in' }])
    }
  })

  t.test('are made by managers, for their own organizations', async (t) => {
    const manager = await broker.createKey('manager', ['acme'])
    const scanner = await broker.createKey('scanner', ['acme'])
    const create = (organization: string, key: string) =>
      broker.post('/v1/connect-sessions', { organization }, { key })
    t.equal((await create('acme', manager)).status, 201)
    t.match(await create('globex', manager), { status: 404, body: { code: 'not_found' } })
    t.match(await create('acme', scanner), { status: 403, body: { code: 'forbidden' } })
  })

  t.test('leave a line in the audit log, without the token', async (t) => {
    const { body } = await broker.post('/v1/connect-sessions', { organization: 'audited' })
    const events = await broker.db
      .selectFrom('audit_events')
      .selectAll()
      .where('organization', '=', 'audited')
      .execute()
    t.match(events, [{ action: 'connect_session.created', access_key_id: String, request_id: String }])
    t.notMatch(JSON.stringify(events), new URL(body.url).searchParams.get('session'))
  })
})

t.test('a return URL is of an allowed origin, to the letter, and plain', async (t) => {
  const origins = ['https://app.example.com', 'http://localhost:3000']
  for (const url of ['https://app.example.com/', 'https://app.example.com/a?b=c', 'http://localhost:3000/x'])
    t.equal(allowedReturnUrl(url, origins), url)
  t.equal(allowedReturnUrl('HTTPS://APP.example.com:443', origins), 'https://app.example.com/')
  for (const url of [
    'https://app.example.com.evil.example/',
    'https://evil.example/?https://app.example.com',
    'https://app.example.com@evil.example/',
    'https://FAKE@app.example.com/',
    'http://app.example.com/',
    'http://localhost:3001/',
    'https://app.example.com/#x',
    'javascript:alert(1)',
    '/relative',
    '',
  ]) {
    t.equal(allowedReturnUrl(url, origins), undefined, url)
  }
})

t.test('a result is added to what the return URL holds already', async (t) => {
  const connected = { status: 'connected', connectionId: 'an-id' } as const
  t.equal(
    resultUrl(connected, 'https://b.example', 'https://app.example.com/x?tab=1'),
    'https://app.example.com/x?tab=1&status=connected&connection_id=an-id',
  )
  t.equal(
    resultUrl({ status: 'failed', code: 'access_denied' }, 'https://b.example/base', null),
    'https://b.example/base/connect?status=failed&code=access_denied',
  )
})
