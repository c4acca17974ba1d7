import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { connectByOAuth, setStage, startTestBroker, type TestBroker } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'

const keysOf = (broker: TestBroker) => {
  const create = (body: object) =>
    broker.post('/v1/access-keys', { name: 'limited', role: 'scanner', organizations: ['acme'], ...body })
  return {
    create,
    limited: async (restrictions: object, more: object = {}): Promise<string> => {
      const answer = await create({ restrictions, ...more })
      if (answer.status !== 201) throw new Error(answer.text)
      return answer.body.key
    },
  }
}

const NOT_THERE = { status: 404, body: { code: 'not_found' } }
const NO_CONNECTION = { status: 404, body: { code: 'no_connection_for_url', candidates: [] } }

const leaseCount = async ({ db }: TestBroker) => (await db.selectFrom('leases').select('id').execute()).length

const setLimitedStage = async (t: Test) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const find = (url: string, key: string, more: Record<string, string> = {}) =>
    broker.get(`/v1/credentials?${new URLSearchParams({ url, ...more })}`, { key })
  const explain = (url: string, key: string) =>
    broker.get(`/v1/credentials/explain?${new URLSearchParams({ url })}`, { key })
  const byId = (id: string, key: string) => broker.get(`/v1/connections/${id}/credential`, { key })
  return { ...stage, ...keysOf(broker), find, explain, byId, host: simulator.url }
}

t.test('a key that is limited to URL prefixes', async (t) => {
  const { broker, find, explain, byId, limited, host, ...stage } = await setLimitedStage(t)
  const wide = await connectToken({ broker, ...stage })
  const platform = await connectToken({ broker, ...stage }, { username: 'tom', group: 'acme/platform' })
  const key = await limited({ url_prefixes: [`${host}/Acme/platform/`, `${host}/acme/web-shop.git`] })

  t.test('looks up what lies at or below one, however it is written', async (t) => {
    for (const path of ['acme/platform', 'acme/platform/api.git', 'ACME/Platform/deep/er/-/tree/main']) {
      t.match(await find(`${host}/${path}`, key), { status: 200, body: { connection_id: platform.id } }, path)
      t.match((await explain(`${host}/${path}`, key)).body.candidates, [{ won: true }, {}], path)
    }
    t.match(await find(`${host}/acme/web-shop/-/issues`, key), { body: { connection_id: wide.id } })
    for (const path of [
      'acme/web-shop.wiki.git',
      'acme/web-shop.wiki.git/info/refs',
      'acme/web-shop.design.git',
    ])
      t.match(await find(`${host}/${path}`, key), { body: { connection_id: wide.id } }, path)
  })

  t.test('and nothing else: the rest does not exist for it', async (t) => {
    const before = await leaseCount(broker)
    const unlimited = await broker.createKey('scanner', ['acme'])
    for (const path of [
      'acme',
      'acme/platform-2/api',
      'acme/web-shop-2',
      'acme/web-shop-2.wiki.git',
      'acme/web-shop.wiki2.git',
      'acme/web-shop.wiki/secret.git',
      'acme.wiki.git',
      'acme/web',
      'acme%2Fweb',
      'somebody/acme/platform',
    ]) {
      t.match(await find(`${host}/${path}`, key), NO_CONNECTION, path)
      t.match((await explain(`${host}/${path}`, key)).body, { result: 'none', candidates: [] }, path)
    }
    for (const path of ['acme/platform/%2e%2e/secret', 'acme/platform/../secret'])
      t.match(await find(`${host}/${path}`, key), { status: 400, body: { code: 'invalid_request' } }, path)
    const other = host.replace('127.0.0.1', 'localhost')
    t.match(await find(`${other}/acme/platform`, key), NO_CONNECTION)
    t.equal(await leaseCount(broker), before)
    t.equal((await find(`${host}/acme`, unlimited)).status, 200, 'which exists for others')
  })

  t.test('names no connection: its token reaches more than a prefix', async (t) => {
    const before = await leaseCount(broker)
    for (const id of [wide.id, platform.id]) t.match(await byId(id, key), NOT_THERE)
    t.equal(await leaseCount(broker), before)
  })

  t.test('reports and releases what it got', async (t) => {
    const { body } = await find(`${host}/acme/platform/api`, key)
    const rejected = await broker.post(`/v1/leases/${body.lease_id}/rejection`, undefined, { key })
    t.match(rejected, { status: 409, body: { code: 'token_works' } })
    t.equal((await broker.request('DELETE', `/v1/leases/${body.lease_id}`, { key })).status, 204)
  })

  t.test('is held to the port of the instance by SSH too, which names none', async (t) => {
    const base = 'https://gitlab.example.com:8443'
    const second = await broker.post('/v1/instances', { base_url: 'https://gitlab.example.com' })
    const moveTo = (id: string, instance_id: string) =>
      broker.db.updateTable('connections').set({ instance_id }).where('id', '=', id).execute()
    await broker.db.updateTable('instances').set({ base_url: base }).where('base_url', '=', host).execute()
    const ssh = 'git@gitlab.example.com:acme/platform/api.git'
    const within = await limited({ url_prefixes: [`${base}/acme`] })
    const beside = await limited({ url_prefixes: ['https://gitlab.example.com/acme'] })
    const elsewhere = await limited({ url_prefixes: [`${base}/globex`] })
    t.match(await find(ssh, within), { status: 200, body: { connection_id: platform.id } })
    for (const one of [beside, elsewhere]) t.match(await find(ssh, one), NO_CONNECTION)
    await moveTo(wide.id, second.body.id)
    t.match(await find(ssh, beside), { status: 200, body: { connection_id: wide.id } })
    t.match(await find(ssh, within), { status: 200, body: { connection_id: platform.id } })
    t.equal((await explain(ssh, within)).body.candidates.length, 1)
  })
})

t.test('a key that is limited to connections', async (t) => {
  const { broker, find, explain, byId, limited, host, ...stage } = await setLimitedStage(t)
  const wide = await connectToken({ broker, ...stage })
  const platform = await connectToken({ broker, ...stage }, { username: 'tom', group: 'acme/platform' })
  const foreign = await connectToken({ broker, ...stage }, { organization: 'globex' })
  const url = `${host}/acme/platform/api`
  const key = await limited({ connections: [wide.id, foreign.id] })
  const unlimited = await broker.createKey('scanner', ['acme'])

  // Before and after others have taught the broker which connection a URL gets.
  for (const when of ['at first', 'when the match is known']) {
    t.match(await find(url, key), { status: 200, body: { connection_id: wide.id } }, when)
    t.match(await find(url, unlimited), { body: { connection_id: platform.id } }, when)
  }
  t.equal((await byId(wide.id, key)).status, 200)
  t.match(await byId(platform.id, key), NOT_THERE)
  t.match(await byId(foreign.id, key), NOT_THERE, 'nor what lies outside its organizations')
  const { candidates } = (await explain(url, key)).body
  t.match(candidates, [{ connection_id: wide.id, won: true }])
  t.equal(candidates.length, 1)

  const none = await limited({ connections: [platform.id], url_prefixes: [`${host}/acme/web-shop`] })
  t.match(await find(`${host}/acme/web-shop`, none), NO_CONNECTION)
  t.match(await find(url, none), NO_CONNECTION, 'both limits hold')
})

t.test('a key that is limited to connections finds them among any number', async (t) => {
  const { broker, find, limited, host, ...stage } = await setLimitedStage(t)
  const { id } = await connectToken({ broker, ...stage })
  await sql`
    insert into connections (
      id, organization, instance_id, method, token_kind, group_path, gitlab_user_id, status, scopes, token_version,
      access_token, token_issued_at, created_at, updated_at
    ) select gen_random_uuid(), organization, instance_id, method, token_kind, group_path, 'user-' || number, status,
      scopes, token_version, access_token, token_issued_at, created_at, updated_at
    from connections, generate_series(1, 1500) as number where id = ${id}`.execute(broker.db)
  // Rewritten, the row comes last in the table and in its index.
  await broker.db.updateTable('connections').set({ name: 'the one' }).where('id', '=', id).execute()
  const key = await limited({ connections: [id] })
  t.match(await find(`${host}/acme/web-shop`, key), { status: 200, body: { connection_id: id } })
})

t.test('a read-only key', async (t) => {
  const { broker, find, explain, byId, limited, create, host, ...stage } = await setLimitedStage(t)
  const { id } = await connectToken({ broker, ...stage })
  const url = `${host}/acme/web-shop`
  const FORBIDDEN = { status: 403, body: { code: 'forbidden' } }

  t.test('explains, and gets no credential, asked from memory or not', async (t) => {
    const key = await limited({ read_only: true })
    for (let round = 0; round < 2; round += 1) {
      t.match(await explain(url, key), { status: 200, body: { result: 'winner' } })
      t.match(await find(url, key), FORBIDDEN)
      t.match(await byId(id, key), FORBIDDEN)
      const head = await broker.request('HEAD', `/v1/connections/${id}/credential`, { key })
      t.equal(head.status, 404, 'there is no HEAD that could run it')
    }
    t.equal(await leaseCount(broker), 0)
  })

  t.test('gets none by the statement that hands out either', async (t) => {
    const { body } = await create({})
    t.equal((await byId(id, body.key)).status, 200, 'and is in memory from now on')
    await broker.db.updateTable('access_keys').set({ read_only: true }).where('id', '=', body.id).execute()
    t.match(await byId(id, body.key), { status: 404 })
  })

  t.test('lists and reads with its role, and changes nothing', async (t) => {
    const key = await limited({ read_only: true }, { role: 'admin' })
    for (const path of ['/v1/connections', `/v1/connections/${id}`, '/v1/access-keys', '/v1/instances'])
      t.equal((await broker.get(path, { key })).status, 200, path)
    const changes: [string, string, object?][] = [
      ['DELETE', `/v1/connections/${id}`],
      ['PATCH', `/v1/connections/${id}`, { name: 'mine' }],
      ['POST', `/v1/connections/${id}/refresh`],
      ['POST', '/v1/connect-sessions', { organization: 'acme' }],
      ['POST', '/v1/access-keys', { name: 'more', role: 'scanner', organizations: ['acme'] }],
      ['POST', '/v1/tokens/verify', { token: 'glpat-FAKE-0123456789' }],
    ]
    for (const [method, path, body] of changes)
      t.match(await broker.request(method, path, { key, body }), FORBIDDEN, `${method} ${path}`)
    t.equal((await broker.get(`/v1/connections/${id}`)).body.name, null)
  })

  t.test('does not sign in on the page, where it could', async (t) => {
    const signIn = async (key: string) => {
      const answer = await broker.request('POST', '/connect/sign-in', {
        key: null,
        rawBody: new URLSearchParams({ access_key: key }).toString(),
        headers: { 'content-type': 'application/x-www-form-urlencoded', origin: broker.url },
      })
      return { status: answer.status, cookies: answer.headers.getSetCookie().length }
    }
    t.same(await signIn(await limited({ read_only: true }, { role: 'admin' })), { status: 403, cookies: 0 })
    t.match(await signIn(await broker.createKey('admin', ['acme'])), { status: 303 })
  })
})

t.test('whoami tells every key what it is', async (t) => {
  const broker = await startTestBroker(t)
  const { create } = keysOf(broker)
  const expires_at = '2027-01-01T00:00:00.000Z'
  const restrictions = { url_prefixes: ['https://GitLab.com/Acme/'], read_only: true }
  const { body } = await create({ restrictions, expires_at })
  const { key: _, created_at: __, ...shown } = body
  t.same((await broker.get('/v1/whoami', { key: body.key })).body, { ...shown, subject: null })
  t.match(shown, {
    role: 'scanner',
    organizations: ['acme'],
    restrictions: { url_prefixes: ['https://gitlab.com/acme'], connections: null, read_only: true },
    encryption_key: null,
    require_sealed: false,
    expires_at,
  })
  t.match((await broker.get('/v1/whoami')).body, { role: 'admin', organizations: ['*'], expires_at: null })
  t.equal((await broker.get('/v1/whoami', { key: null })).status, 401)
  await broker.request('DELETE', `/v1/access-keys/${body.id}`)
  t.equal((await broker.get('/v1/whoami', { key: body.key })).status, 401)
})

t.test('restrictions that make no sense are refused by field', async (t) => {
  const broker = await startTestBroker(t)
  const { create } = keysOf(broker)
  const id = '01900000-0000-7000-8000-000000000001'
  const table: [object, string, string?][] = [
    [{ url_prefixes: ['gitlab.com/acme'] }, 'restrictions.url_prefixes.0'],
    [{ url_prefixes: ['https://gitlab.com/a', 'https://gitlab.com/acme/*'] }, 'restrictions.url_prefixes.1'],
    [{ url_prefixes: ['https://a:b@gitlab.com/acme'] }, 'restrictions.url_prefixes.0'],
    [{ url_prefixes: ['https://gitlab.com/acme?x=1'] }, 'restrictions.url_prefixes.0'],
    [{ url_prefixes: ['git@gitlab.com:acme'] }, 'restrictions.url_prefixes.0'],
    [{ url_prefixes: [] }, 'restrictions.url_prefixes'],
    [{ url_prefixes: 'https://gitlab.com' }, 'restrictions.url_prefixes'],
    [{ connections: ['one'] }, 'restrictions.connections.0'],
    [{ connections: [] }, 'restrictions.connections'],
    [{ read_only: 'yes' }, 'restrictions.read_only'],
    [{ colour: 'red' }, 'restrictions'],
    [{ connections: [id] }, 'restrictions.connections', 'manager'],
    [{ url_prefixes: ['https://gitlab.com'] }, 'restrictions.url_prefixes', 'admin'],
  ]
  for (const [restrictions, field, role = 'scanner'] of table) {
    const answer = await create({ role, restrictions })
    t.match(
      answer,
      { status: 400, body: { code: 'invalid_request', errors: [{ field }] } },
      JSON.stringify(restrictions),
    )
  }
  t.equal((await create({ restrictions: {} })).status, 201)
  t.equal((await create({ restrictions: { url_prefixes: null, connections: null } })).status, 201)
})

t.test('an admin of one organization sees its part of instances and OAuth apps', async (t) => {
  const stage = await setStage(t)
  const { broker, instanceId } = stage
  const register = async (base_url: string) => (await broker.post('/v1/instances', { base_url })).body.id
  const theirs = await register('https://gitlab.globex.example')
  const nobodys = await register('https://gitlab.new.example')
  const makeApp = async (slug: string, instance_id: string) =>
    (
      await broker.post('/v1/oauth-apps', {
        slug,
        instance_id,
        client_id: 'x',
        client_secret: 'gloas-FAKE-x',
      })
    ).body.id
  const [theirApp, newApp] = [await makeApp('theirs', theirs), await makeApp('new', nobodys)]
  await connectByOAuth(stage)
  const globex = await connectToken(stage, { organization: 'globex', username: 'tom' })
  await broker.db
    .updateTable('connections')
    .set({ instance_id: theirs, oauth_app_id: theirApp })
    .where('id', '=', globex.id)
    .execute()

  const acme = await broker.createKey('admin', ['acme'])
  const idsOf = async (path: string, key?: string) =>
    (await broker.get(path, key ? { key } : {})).body.items.map(({ id }: { id: string }) => id)
  const instances = await idsOf('/v1/instances', acme)
  t.same(
    instances,
    (await idsOf('/v1/instances')).filter((id: string) => id !== theirs),
  )
  for (const id of [instanceId, nobodys]) t.ok(instances.includes(id))
  const apps = await idsOf('/v1/oauth-apps', acme)
  t.ok(apps.includes(newApp))
  t.notOk(apps.includes(theirApp))
  t.equal(apps.length, 2)
  for (const [path, status] of [
    [`/v1/instances/${instanceId}`, 200],
    [`/v1/instances/${theirs}`, 404],
    [`/v1/oauth-apps/${newApp}`, 200],
    [`/v1/oauth-apps/${theirApp}`, 404],
  ] as const)
    t.equal((await broker.get(path, { key: acme })).status, status, path)
  const both = await broker.createKey('admin', ['acme', 'globex'])
  t.ok((await idsOf('/v1/instances', both)).includes(theirs))

  const change = { name: 'ours' }
  t.match(await broker.request('PATCH', `/v1/instances/${instanceId}`, { key: acme, body: change }), {
    status: 403,
    body: { code: 'forbidden' },
  })
})
