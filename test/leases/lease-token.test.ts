import t from 'tap'
import { connectByOAuth, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'

t.test('the credential of a connection', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const oauth = await connectByOAuth(stage)
  const pasted = await connectToken(stage, { username: 'tom', expiresAt: '2026-12-24' })

  t.test('has all that git and the API need, and may not be cached', async (t) => {
    const { status, headers, body } = await broker.get(`/v1/connections/${oauth}/credential`)
    t.equal(status, 200)
    t.equal(headers.get('cache-control'), 'no-store')
    t.equal(simulator.world.tokenState(body.token), 'active')
    t.match(body.lease_id, /^[0-9a-f-]{36}$/)
    t.same(
      { ...body, lease_id: '', token: '' },
      {
        lease_id: '',
        connection_id: oauth,
        organization: 'acme',
        base_url: simulator.url,
        token: '',
        token_kind: 'oauth_access_token',
        token_version: 1,
        scopes: ['read_user', 'read_api', 'read_repository'],
        expires_at: '2026-11-02T12:30:00.000Z',
        expires_in: 7200,
        git: { username: 'oauth2', password: body.token },
        api: { header: 'Authorization', value: `Bearer ${body.token}` },
      },
    )
    const user = await fetch(`${simulator.url}/api/v4/user`, {
      headers: { [body.api.header]: body.api.value },
    })
    t.match(await user.json(), { username: 'maria' })
  })

  t.test('is the token that was pasted, until 00:00 UTC of its day', async (t) => {
    const { body } = await broker.get(`/v1/connections/${pasted.id}/credential`)
    t.match(body, {
      token: pasted.token,
      token_kind: 'personal_access_token',
      expires_at: '2026-12-24T00:00:00.000Z',
    })
  })

  t.test('leaves a lease that says who got what, when, until when and what for', async (t) => {
    const scanner = await broker.post('/v1/access-keys', {
      name: 'nightly scanner',
      role: 'scanner',
      organizations: ['acme'],
    })
    const { body } = await broker.get(
      `/v1/connections/${pasted.id}/credential?min_ttl=600&purpose=${encodeURIComponent('scan 42 – ✓')}`,
      { key: scanner.body.key },
    )
    const lease = await broker.db
      .selectFrom('leases')
      .selectAll()
      .where('id', '=', body.lease_id)
      .executeTakeFirst()
    t.same(lease, {
      id: body.lease_id,
      connection_id: pasted.id,
      organization: 'acme',
      token_version: 1,
      access_key_id: scanner.body.id,
      subject: null,
      purpose: 'scan 42 – ✓',
      granted_at: new Date(clock()),
      expires_at: new Date(clock() + 600_000),
      released_at: null,
      rejected_at: null,
    })
  })

  t.test('is not there for a key of another organization, nor when it does not exist', async (t) => {
    const other = await broker.createKey('scanner', ['globex'])
    const leases = () => broker.db.selectFrom('leases').select('id').execute()
    const before = await leases()
    for (const [id, key] of [
      [oauth, other],
      ['01900000-0000-7000-8000-00000000dead', other],
    ] as const) {
      const { status, body } = await broker.get(`/v1/connections/${id}/credential`, { key })
      t.equal(status, 404)
      t.match(body, { code: 'not_found', detail: 'There is no such connection.' })
    }
    t.same(await leases(), before)
  })

  t.test('takes only wishes that make sense', async (t) => {
    const path = `/v1/connections/${oauth}/credential`
    for (const [query, field] of [
      ['min_ttl=0', 'min_ttl'],
      ['min_ttl=-5', 'min_ttl'],
      ['min_ttl=86401', 'min_ttl'],
      ['min_ttl=1.5', 'min_ttl'],
      ['min_ttl=soon', 'min_ttl'],
      ['min_ttl=', 'min_ttl'],
      ['min_ttl=60&min_ttl=70', 'min_ttl'],
      ['on_conflict=fight', 'on_conflict'],
      [`purpose=${'x'.repeat(201)}`, 'purpose'],
      ['ttl=60', 'query'],
    ] as const) {
      const answer = await broker.get(`${path}?${query}`)
      t.match(answer, { status: 400, body: { code: 'invalid_request', errors: [{ field }] } }, query)
    }
    t.match(await broker.get(`${path}?min_ttl=7201`), {
      status: 422,
      body: { code: 'min_ttl_unattainable', connection_id: oauth },
    })
  })

  t.test('of a token that has run out is connection_expired, and the connection says so', async (t) => {
    const short = await connectToken(stage, {
      username: 'tom',
      organization: 'globex',
      expiresAt: '2026-11-03',
    })
    const path = `/v1/connections/${short.id}`
    t.match(await broker.get(`${path}/credential?min_ttl=86400`), {
      status: 422,
      body: { code: 'min_ttl_unattainable', expires_at: '2026-11-03T00:00:00.000Z' },
    })
    t.match((await broker.get(`${path}/credential`)).body, { token: short.token, expires_in: 48_600 })
    clock.advance(48_600)
    t.match(await broker.get(`${path}/credential`), { status: 409, body: { code: 'connection_expired' } })
    t.match((await broker.get(path)).body, { status: 'expired', status_reason: 'token_expired' })
    const listed = await broker.get('/v1/connections?status=expired')
    t.same(
      listed.body.items.map(({ id }: { id: string }) => id),
      [short.id],
    )
  })

  t.test('of a connection that is over says why, in its first words', async (t) => {
    for (const [status, code] of [
      ['revoked', 'connection_revoked'],
      ['expired', 'connection_expired'],
      ['needs_reauthorization', 'needs_reauthorization'],
    ] as const) {
      await broker.db
        .updateTable('connections')
        .set({ status, status_reason: 'a_reason', status_detail: 'The first cause.' })
        .where('id', '=', pasted.id)
        .execute()
      t.match(await broker.get(`/v1/connections/${pasted.id}/credential`), {
        status: 409,
        body: { code, detail: 'The first cause.', status_reason: 'a_reason', connection_id: pasted.id },
      })
    }
  })
})

t.test('a lease ends with the token, at the latest', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  const { id } = await connectToken(stage, { expiresAt: '2026-11-03' })
  clock.advance(48_600 - 100)
  const { body } = await broker.get(`/v1/connections/${id}/credential`)
  const lease = await broker.db.selectFrom('leases').select('expires_at').executeTakeFirst()
  t.same(lease?.expires_at, new Date('2026-11-03T00:00:00Z'))
  t.equal(body.expires_in, 100)
})

t.test('a lease is released by who got it or a manager of its organization, and twice is fine', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const { id } = await connectToken(stage)
  const mine = await broker.createKey('scanner', ['acme'])
  const colleague = await broker.createKey('scanner', ['acme'])
  const manager = await broker.createKey('manager', ['acme'])
  const foreign = await broker.createKey('manager', ['globex'])
  const lease = async () =>
    (await broker.get(`/v1/connections/${id}/credential`, { key: mine })).body.lease_id
  const release = async (leaseId: string, key: string) =>
    (await broker.request('DELETE', `/v1/leases/${leaseId}`, { key })).status

  const first = await lease()
  t.equal(await release(first, colleague), 404)
  t.equal(await release(first, foreign), 404)
  t.equal(await release(first, mine), 204)
  const releasedAt = () =>
    broker.db.selectFrom('leases').select('released_at').where('id', '=', first).executeTakeFirst()
  const at = await releasedAt()
  stage.clock.advance(60)
  t.equal(await release(first, mine), 204)
  t.same(await releasedAt(), at, 'the first time counts')
  t.equal(await release(await lease(), manager), 204)
  t.equal(await release('01900000-0000-7000-8000-00000000dead', mine), 404)
})
