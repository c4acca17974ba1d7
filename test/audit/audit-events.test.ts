import { sql } from 'kysely'
import t from 'tap'
import { ADMIN_KEY, type Stage, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { connect, lookUp, OUT, rowOf, until } from '../support/lifecycle.ts'

type Event = Record<string, unknown> & { id: string; details: Record<string, unknown> }

const eventsOf = async (
  { broker }: Pick<Stage, 'broker'>,
  query: Record<string, string>,
): Promise<Event[]> => {
  const answer = await broker.get(`/v1/audit-events?${new URLSearchParams({ limit: '100', ...query })}`)
  return answer.body.items
}

const ADDRESS = '127.0.0.1'

t.test('acts are recorded with who, when, from where, and a hash of the token', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  const keys = await broker.get('/v1/access-keys')
  const [{ id: adminId }] = keys.body.items

  t.test('what admins and managers do', async (t) => {
    const pasted = await connectToken(stage)
    await broker.request('PATCH', `/v1/connections/${pasted.id}`, { body: { name: 'nightly' } })
    await broker.request('DELETE', `/v1/connections/${pasted.id}`)
    const made = await broker.post('/v1/access-keys', {
      name: 'one',
      role: 'scanner',
      organizations: ['acme'],
    })
    await broker.request('DELETE', `/v1/access-keys/${made.body.id}`)
    const actions = (await eventsOf(stage, { organization: 'acme' })).reverse()
    const [created] = actions
    t.match(
      actions,
      [
        'connection.created',
        'connection.updated',
        'connection.deleted',
        'access_key.created',
        'access_key.deleted',
      ].map((action) => ({
        action,
        outcome: 'success',
        organization: 'acme',
        access_key_id: adminId,
        address: ADDRESS,
        request_id: /./,
        at: new Date(clock()).toISOString(),
      })),
    )
    t.match(created, { token_hash: /^[0-9a-f]{64}$/, details: { token_version: 1 } })
    t.equal(actions[2]?.token_hash, created?.token_hash, 'the deletion concerns the same token')
    const all = await eventsOf(stage, { access_key_id: adminId })
    const ofAdmin = new Set(all.map(({ action, address }) => `${action} from ${address}`))
    for (const action of ['instance.created', 'oauth_app.created'])
      t.ok(ofAdmin.has(`${action} from ${ADDRESS}`), action)
  })

  t.test('what guests do by a link, and what the broker does by itself', async (t) => {
    const id = await connect(stage)
    clock.advance(OUT)
    t.equal((await lookUp(stage, id)).status, 200)
    const events = (await eventsOf(stage, { connection_id: id })).reverse()
    t.match(events, [
      { action: 'connection.created', address: ADDRESS, token_hash: /^[0-9a-f]{64}$/ },
      { action: 'connection.refreshed', address: null, access_key_id: null, details: { token_version: 2 } },
    ])
    t.match(events[1]?.token_hash, /^[0-9a-f]{64}$/)
    t.not(events[0]?.token_hash, events[1]?.token_hash)
  })

  t.test('the hash is the same for the same token, and not the plain SHA-256 of it', async (t) => {
    const { id, token } = await connectToken(stage, { organization: 'hash' })
    await broker.post('/v1/connections/personal-access-token', {
      organization: 'hash',
      base_url: stage.simulator.url,
      token,
    })
    const [again, first] = await eventsOf(stage, { organization: 'hash' })
    t.match(
      [first, again],
      [{ action: 'connection.created', subject_id: id }, { action: 'connection.reconnected' }],
    )
    t.equal(first?.token_hash, again?.token_hash)
    const { rows } = await sql<{ plain: string }>`
      select encode(sha256(convert_to(${token}::text, 'UTF8')), 'hex') as plain`.execute(broker.db)
    t.not(first?.token_hash, rows[0]?.plain)
  })

  t.test('a sign-in at the page, accepted or refused', async (t) => {
    const scanner = await broker.createKey('scanner', ['acme'])
    const signIn = (access_key: string) =>
      broker.request('POST', '/connect/sign-in', {
        key: null,
        rawBody: new URLSearchParams({ access_key }).toString(),
        headers: { 'content-type': 'application/x-www-form-urlencoded', origin: broker.url },
      })
    t.equal((await signIn(ADMIN_KEY)).status, 303)
    t.equal((await signIn('FAKE-nobody-knows-this-key-00000000000')).status, 401)
    t.equal((await signIn(scanner)).status, 403)
    t.match(await eventsOf(stage, { action: 'sign_in.accepted' }), [
      { access_key_id: adminId, address: ADDRESS },
    ])
    await until(async () => (await eventsOf(stage, { action: 'sign_in.refused' })).length === 2)
    const refused = await eventsOf(stage, { action: 'sign_in.refused' })
    t.match(refused, [
      { outcome: 'refused', address: ADDRESS },
      { outcome: 'refused', address: ADDRESS },
    ])
    t.same(refused.filter(({ access_key_id }) => access_key_id === null).length, 1, 'a known key is named')
  })
})

t.test('refused acts', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const wait = async (action: string, count: number) => {
    await until(async () => (await eventsOf(stage, { action })).length >= count)
    return eventsOf(stage, { action })
  }

  t.test('a wrong key or none is one event, and then counted', async (t) => {
    const rounds = 25
    for (let round = 0; round < rounds; round += 1)
      t.equal(
        (await broker.get('/v1/connections', { key: `FAKE-wrong-key-${round}-00000000000000` })).status,
        401,
      )
    t.equal((await broker.get('/v1/connections', { key: null })).status, 401)
    const events = await wait('access.unauthorized', 1)
    t.match(events, [
      {
        outcome: 'refused',
        address: ADDRESS,
        request_id: /./,
        details: { count: 1, operation: 'GET /v1/connections' },
      },
    ])
    t.equal(events.length, 1)
  })

  t.test('a key without the role, or without all organizations, is named', async (t) => {
    const made = await broker.post('/v1/access-keys', {
      name: 'weak',
      role: 'scanner',
      organizations: ['acme'],
    })
    t.equal((await broker.get('/v1/connections', { key: made.body.key })).status, 403)
    const admin = await broker.post('/v1/access-keys', {
      name: 'one',
      role: 'admin',
      organizations: ['acme'],
    })
    const refused = await broker.post(
      '/v1/instances',
      { base_url: 'https://gitlab.example' },
      { key: admin.body.key },
    )
    t.equal(refused.status, 403)
    const events = await wait('access.forbidden', 2)
    t.same(new Set(events.map(({ access_key_id }) => access_key_id)), new Set([made.body.id, admin.body.id]))
    for (const event of events) t.match(event, { outcome: 'refused', address: ADDRESS })
  })

  t.test('a ciphertext that was tampered with, with who met it', async (t) => {
    const scanner = await broker.post('/v1/access-keys', { name: 's', role: 'scanner', organizations: ['*'] })
    const one = await connect(stage)
    const other = await connect(stage)
    const { access_token } = await rowOf(stage, other)
    await broker.db.updateTable('connections').set({ access_token }).where('id', '=', one).execute()
    t.equal((await lookUp(stage, one, {}, scanner.body.key)).status, 500)
    const [event, ...more] = await wait('secret.tampered', 1)
    t.same(more, [])
    t.match(event, {
      outcome: 'failed',
      subject_id: one,
      access_key_id: scanner.body.id,
      address: ADDRESS,
      details: { use: 'access', version: 1, operation: 'GET /v1/connections/:id/credential' },
    })
  })

  t.test('and one that background work meets', async (t) => {
    const id = await connect(stage)
    await broker.db
      .updateTable('connections')
      .set({ refresh_token: 'damaged', failing_since: new Date(0) })
      .where('id', '=', id)
      .execute()
    await broker.jobs.mendConnections()
    await until(
      async () => (await eventsOf(stage, { action: 'secret.tampered', connection_id: id })).length > 0,
    )
    t.match(await eventsOf(stage, { action: 'secret.tampered', connection_id: id }), [
      { access_key_id: null, details: { use: 'refresh' } },
    ])
  })

  t.test('what was only counted is written at the end', async (t) => {
    await broker.close()
    const { rows } = await sql<{ total: number; events: number }>`
      select sum((details->>'count')::int)::float8 as total, count(*)::float8 as events from audit_events
      where action = 'access.unauthorized'`.execute(broker.db)
    t.same(rows, [{ total: 26, events: 2 }])
  })
})

t.test('GET /v1/audit-events', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  const start = new Date(clock())
  for (const organization of ['acme', 'globex', 'acme', 'initech']) {
    clock.advance(60)
    await connectToken(stage, { organization, username: 'tom' })
  }
  const acmeAdmin = await broker.createKey('admin', ['acme', 'initech'])
  const list = (query: string, key?: string) =>
    broker.get(`/v1/audit-events${query}`, key === undefined ? {} : { key })
  const actionsOf = (body: { items: Event[] }) =>
    body.items.map(({ action, organization }) => `${action} ${organization}`)

  t.test('shows an admin of some organizations theirs alone', async (t) => {
    const { body } = await list('', acmeAdmin)
    t.same(actionsOf(body), [
      'connection.created initech',
      'connection.reconnected acme',
      'connection.created acme',
    ])
    t.equal((await list('?organization=globex', acmeAdmin)).status, 404)
    t.same(actionsOf((await list('?organization=acme', acmeAdmin)).body).length, 2)
    const all = (await list('?limit=100')).body.items as Event[]
    t.ok(all.some(({ organization }) => organization === null))
    t.ok(all.some(({ organization }) => organization === 'globex'))
  })

  t.test('takes an admin', async (t) => {
    for (const role of ['manager', 'scanner'] as const)
      t.equal((await list('', await broker.createKey(role, ['*']))).status, 403, role)
  })

  t.test('filters by time, kind, key and connection', async (t) => {
    const at = (seconds: number) =>
      encodeURIComponent(new Date(start.getTime() + seconds * 1000).toISOString())
    const within = await list(`?action=connection.created&from=${at(60)}&to=${at(121)}`)
    t.same(actionsOf(within.body), ['connection.created globex', 'connection.created acme'])
    const before = await list(`?action=connection.created&to=${at(60)}`)
    t.same(actionsOf(before.body), [], 'the end is not part of it')
    const id = within.body.items[0].subject_id
    t.same(actionsOf((await list(`?connection_id=${id}`)).body), ['connection.created globex'])
    const key = within.body.items[0].access_key_id
    t.ok((await list(`?access_key_id=${key}&outcome=success`)).body.items.length > 3)
    t.same((await list(`?outcome=failed`)).body.items, [])
  })

  t.test('gives every event once, page by page, also those of the same moment', async (t) => {
    for (const key of [ADMIN_KEY, acmeAdmin]) {
      const whole = (await list('?limit=100', key)).body.items.map(({ id }: Event) => id)
      const seen: string[] = []
      let cursor: string | null = null
      do {
        const page: { body: { items: Event[]; next_cursor: string | null } } = await list(
          `?limit=2${cursor ? `&cursor=${cursor}` : ''}`,
          key,
        )
        seen.push(...page.body.items.map(({ id }) => id))
        cursor = page.body.next_cursor
      } while (cursor)
      t.same(seen, whole)
    }
  })

  t.test('refuses what is no filter', async (t) => {
    for (const query of [
      '?cursor=FAKE',
      `?cursor=${Buffer.from('1 2 3').toString('base64url')}`,
      '?from=yesterday',
      '?action=FAKE',
      '?connection_id=7',
      '?limit=0',
      '?colour=red',
    ])
      t.match(await list(query), { status: 400, body: { code: 'invalid_request' } }, query)
  })
})
