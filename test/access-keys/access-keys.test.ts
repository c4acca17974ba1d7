import t from 'tap'
import { ADMIN_KEY, setStage, startTestBroker } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'

t.test('access keys', async (t) => {
  const broker = await startTestBroker(t)
  const create = (body: object, key?: string) =>
    broker.post('/v1/access-keys', { name: 'a key', role: 'scanner', ...body }, key ? { key } : {})

  t.test('are shown once, and stored as a hash', async (t) => {
    const { status, headers, body } = await create({ organizations: ['acme'] })
    t.equal(status, 201)
    t.equal(headers.get('cache-control'), 'no-store')
    t.match(body.key, /^gtb_scn_[\w-]{43}[0-9a-f]{8}$/)
    const list = await broker.get('/v1/access-keys')
    t.notMatch(list.text, body.key)
    const { key: _, ...shown } = body
    t.same(list.body.items.at(-1), shown)
    const row = await broker.db
      .selectFrom('access_keys')
      .selectAll()
      .where('id', '=', body.id)
      .executeTakeFirst()
    t.equal(row?.key_sha256.length, 32)
    t.notMatch(JSON.stringify(row), body.key)
  })

  t.test('do what their role may, and what those below it may', async (t) => {
    const calls = {
      scanner: () => ['GET', '/v1/credentials/explain?url=https://gitlab.com/a/b'],
      manager: () => ['GET', '/v1/connections'],
      admin: () => ['GET', '/v1/access-keys'],
    }
    const roles = ['scanner', 'manager', 'admin'] as const
    for (const [rank, role] of roles.entries()) {
      const key = await broker.createKey(role, ['acme'])
      for (const [needed, wanted] of roles.entries()) {
        const [method, path] = calls[wanted]() as [string, string]
        const { status, body } = await broker.request(method, path, { key })
        if (rank >= needed) t.equal(status, 200, `${role} as ${wanted}`)
        else t.match({ status, body }, { status: 403, body: { code: 'forbidden' } }, `${role} as ${wanted}`)
      }
    }
  })

  t.test('grant no more than their maker holds', async (t) => {
    const key = await broker.createKey('admin', ['acme', 'globex'])
    t.equal((await create({ organizations: ['acme'], role: 'admin' }, key)).status, 201)
    t.match(await create({ organizations: ['*'] }, key), { status: 403, body: { code: 'forbidden' } })
    t.match(await create({ organizations: ['acme', 'initech'] }, key), {
      status: 404,
      body: { code: 'not_found', detail: 'There is no such organization.' },
    })
  })

  t.test('outside the organizations of an admin do not exist for it', async (t) => {
    const key = await broker.createKey('admin', ['acme'])
    const foreign = (await create({ organizations: ['globex'] })).body.id
    const wider = (await create({ organizations: ['acme', 'globex'] })).body.id
    const { body } = await broker.get('/v1/access-keys?limit=100', { key })
    for (const item of body.items) t.same(item.organizations, ['acme'])
    for (const id of [foreign, wider])
      t.equal((await broker.request('DELETE', `/v1/access-keys/${id}`, { key })).status, 404)
    t.equal((await broker.request('DELETE', `/v1/access-keys/${foreign}`)).status, 204)
    t.equal((await broker.request('DELETE', `/v1/access-keys/${foreign}`)).status, 404)
  })

  t.test('come page by page', async (t) => {
    const all = (await broker.get('/v1/access-keys?limit=100')).body.items
    const first = await broker.get('/v1/access-keys?limit=3')
    const second = await broker.get(`/v1/access-keys?limit=100&cursor=${first.body.next_cursor}`)
    t.same([...first.body.items, ...second.body.items], all)
    t.equal(second.body.next_cursor, null)
  })

  t.test('stop at their end, to the second', async (t) => {
    const expires_at = new Date(broker.clock() + 60_000).toISOString()
    const { body } = await create({ organizations: ['acme'], role: 'manager', expires_at })
    t.equal(body.expires_at, expires_at)
    const use = async () => (await broker.get('/v1/connections', { key: body.key })).status
    broker.clock.advance(59)
    t.equal(await use(), 200)
    broker.clock.advance(1)
    t.equal(await use(), 401)
    const again = await broker.get('/v1/connections', { key: body.key })
    t.match(again.body, { code: 'unauthorized', detail: 'This access key has expired.' })
  })

  t.test('leave a line in the audit log when made and deleted, without the key', async (t) => {
    const { body } = await create({ organizations: ['acme', 'globex'], name: 'audited' })
    await broker.request('DELETE', `/v1/access-keys/${body.id}`)
    const events = await broker.db
      .selectFrom('audit_events')
      .selectAll()
      .where('subject_id', '=', body.id)
      .orderBy('id')
      .execute()
    t.match(events, [
      { action: 'access_key.created', access_key_id: String, request_id: String },
      { action: 'access_key.deleted', access_key_id: String, request_id: String },
    ])
    t.equal(events.length, 2)
    t.match(JSON.stringify(events), 'acme globex')
    t.notMatch(JSON.stringify(events), body.key)
  })
})

t.test(
  'a deleted key is out at once, also for lookups, which know it from memory, and on every replica',
  async (t) => {
    const stage = await setStage(t)
    const { broker, simulator } = stage
    const replica = await startTestBroker(t, { database: broker.database, clock: stage.clock })
    const { id } = await connectToken(stage)
    const scanner = (
      await broker.post('/v1/access-keys', { name: 'scanner', role: 'scanner', organizations: ['acme'] })
    ).body
    const url = encodeURIComponent(`${simulator.url}/acme/web-shop`)
    const calls = [
      `/v1/connections/${id}/credential`,
      `/v1/credentials?url=${url}`,
      `/v1/credentials/explain?url=${url}`,
    ].flatMap((path) => [broker, replica].map((on) => () => on.get(path, { key: scanner.key })))
    for (const call of calls) t.equal((await call()).status, 200)
    const leases = async () => (await broker.db.selectFrom('leases').select('id').execute()).length
    const before = await leases()

    t.equal((await broker.request('DELETE', `/v1/access-keys/${scanner.id}`)).status, 204)
    for (const call of calls) t.match(await call(), { status: 401, body: { code: 'unauthorized' } })
    t.equal(await leases(), before, 'nothing was handed out')
    t.equal((await replica.get(`/v1/connections/${id}/credential`, { key: ADMIN_KEY })).status, 200)
  },
)

t.test('a key that expires stops for lookups too', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  const { id } = await connectToken(stage)
  const { body } = await broker.post('/v1/access-keys', {
    name: 'short',
    role: 'scanner',
    organizations: ['acme'],
    expires_at: new Date(clock() + 60_000).toISOString(),
  })
  const look = async () => (await broker.get(`/v1/connections/${id}/credential`, { key: body.key })).status
  t.equal(await look(), 200)
  clock.advance(60)
  t.equal(await look(), 401)
})
