import t from 'tap'
import { SEEDED_APP } from '../../simulator/seed.ts'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { connect, lookUp, REFRESH, rowOf } from '../support/lifecycle.ts'

t.test('what a manager can do to a connection', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const patch = (id: string, body: unknown) => broker.request('PATCH', `/v1/connections/${id}`, { body })
  const refresh = (id: string, query = '') => broker.post(`/v1/connections/${id}/refresh${query}`)
  let organizations = 0
  const connectPasted = (wanted: Parameters<typeof connectToken>[1] = {}) => {
    organizations += 1
    return connectToken(stage, { organization: `managed-${organizations}`, ...wanted })
  }

  t.test('name it, and take the name away', async (t) => {
    const { id } = await connectPasted()
    t.match(await patch(id, { name: 'nightly scans' }), { status: 200, body: { id, name: 'nightly scans' } })
    clock.advance(1)
    t.match(await patch(id, { name: null }), {
      status: 200,
      body: { name: null, updated_at: new Date(clock()).toISOString() },
    })
    for (const body of [{}, { name: 5 }, { status: 'active' }, { name: '' }]) {
      t.match(await patch(id, body), { status: 400, body: { code: 'invalid_request' } }, JSON.stringify(body))
    }
    const events = await broker.db
      .selectFrom('audit_events')
      .select(['action', 'details'])
      .where('subject_id', '=', id)
      .orderBy('id')
      .execute()
    t.match(events.slice(-2), [
      { action: 'connection.updated', details: { change: 'name' } },
      { action: 'connection.updated' },
    ])
  })

  t.test('have its token rotated, where that can be', async (t) => {
    const able = await connectPasted({ scopes: ['read_repository', 'self_rotate'] })
    t.match(await patch(able.id, { auto_rotate: true }), { status: 200, body: { auto_rotate: true } })
    t.match(await patch(able.id, { auto_rotate: false }), { status: 200, body: { auto_rotate: false } })
    const unable = await connectPasted()
    t.match(await patch(unable.id, { auto_rotate: true }), {
      status: 422,
      body: { code: 'missing_scopes', missing_scopes: ['self_rotate'] },
    })
    t.match(await patch(await connect(stage), { auto_rotate: true }), {
      status: 422,
      body: { code: 'wrong_token_kind' },
    })
  })

  t.test('refresh it now', async (t) => {
    const id = await connect(stage)
    t.match(await refresh(id), { status: 200, body: { id, token_version: 2, status: 'active' } })
    t.match(await refresh(id), { status: 200, body: { token_version: 3 } })
    const asked = await broker.db
      .selectFrom('audit_events')
      .select(['access_key_id', 'details'])
      .where('subject_id', '=', id)
      .where('action', '=', 'connection.updated')
      .orderBy('id')
      .execute()
    t.match(asked, [
      { access_key_id: String, details: { change: 'refresh asked for', token_version: 1 } },
      { access_key_id: String, details: { token_version: 2 } },
    ])
  })

  t.test('refresh it under the feet of scanners only by preempting', async (t) => {
    const id = await connect(stage)
    const held = await lookUp(stage, id, { min_ttl: 900 })
    const refused = await refresh(id)
    t.match(refused, {
      status: 409,
      body: { code: 'token_in_use', leased_until: new Date(clock() + 900_000).toISOString() },
    })
    t.equal(refused.headers.get('retry-after'), '900')
    t.match(await refresh(id, '?on_conflict=preempt'), { status: 200, body: { token_version: 2 } })
    t.equal(simulator.world.tokenState(held.body.token), 'revoked')
  })

  t.test('learn why it cannot be refreshed', async (t) => {
    t.match(await refresh((await connectPasted()).id), { status: 409, body: { code: 'not_refreshable' } })

    const down = await connect(stage)
    simulator.faults.add({
      match: REFRESH,
      effect: { kind: 'status', status: 503, headers: { 'retry-after': '40' } },
    })
    for (const answer of [await refresh(down), await refresh(down)]) {
      t.match(answer, { status: 503, body: { code: 'gitlab_unavailable', detail: /503.*tries again/ } })
      t.equal(answer.headers.get('retry-after'), '40')
    }

    const misled = await connect(stage)
    simulator.world.changeAppSecret(SEEDED_APP.clientId, 'gloas-FAKE-another-secret')
    t.match(await refresh(misled), {
      status: 503,
      body: { code: 'oauth_app_rejected', detail: /invalid_client.*an admin has to correct/ },
    })
    simulator.world.changeAppSecret(SEEDED_APP.clientId, SEEDED_APP.clientSecret)

    const over = await connect(stage)
    simulator.world.revokeToken((await lookUp(stage, over)).body.token)
    t.match(await refresh(over, '?on_conflict=preempt'), {
      status: 503,
      body: { code: 'gitlab_unavailable', detail: /refuses the refresh token.*tries again/ },
    })
    clock.advance(300)
    t.match(await refresh(over), {
      status: 409,
      body: { code: 'needs_reauthorization', detail: /refuses the refresh token/ },
    })
    t.match(await rowOf(stage, over), {
      status: 'needs_reauthorization',
      status_reason: 'refresh_token_refused',
    })
  })

  t.test('only in the organizations of the key, and only as a manager', async (t) => {
    const { id } = await connectPasted()
    const stranger = await broker.createKey('manager', ['elsewhere'])
    const scanner = await broker.createKey('scanner', ['*'])
    for (const [method, path, body] of [
      ['PATCH', '', { name: 'mine' }],
      ['DELETE', '', undefined],
      ['POST', '/verify', undefined],
      ['POST', '/refresh', undefined],
      ['POST', '/rotate', {}],
      ['PUT', '/token', { token: 'glpat-FAKE-0123456789abcdef' }],
    ] as const) {
      const call = (key: string, of = id) =>
        broker.request(method, `/v1/connections/${of}${path}`, {
          key,
          ...(body === undefined ? {} : { body }),
        })
      t.match(await call(stranger), { status: 404, body: { code: 'not_found' } }, `${method} ${path}`)
      t.match(await call(scanner), { status: 403, body: { code: 'forbidden' } })
      t.match(await call(stranger, '01900000-0000-7000-8000-00000000dead'), { status: 404 })
      t.match(await call(stranger, 'no-uuid'), { status: 400 })
    }
    t.match(await rowOf(stage, id), { name: null, token_version: 1 })
  })
})
