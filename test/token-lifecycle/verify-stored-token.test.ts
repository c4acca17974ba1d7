import t from 'tap'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { connect, lookUp, NO_TROUBLE, REFRESH, rowOf } from '../support/lifecycle.ts'

const SELF = { path: '/api/v4/personal_access_tokens/self' }

t.test('to verify a connection', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  t.beforeEach(() => simulator.faults.clear())
  const verify = (id: string) => broker.post(`/v1/connections/${id}/verify`)
  let organizations = 0
  const connectPasted = (wanted: Parameters<typeof connectToken>[1] = {}) => {
    organizations += 1
    return connectToken(stage, { organization: `verified-${organizations}`, ...wanted })
  }
  const setColumns = (id: string, columns: object) =>
    broker.db.updateTable('connections').set(columns).where('id', '=', id).execute()

  t.test('writes down when GitLab confirmed it, and what it is now', async (t) => {
    const { id, token } = await connectPasted({ scopes: ['read_user', 'read_repository'] })
    clock.advance(60)
    Object.assign(simulator.world.accessTokens.find(token)!, { expiresAt: '2027-01-01' })
    simulator.world.people.user('maria').name = 'Maria Bianchi'
    t.match(await verify(id), {
      status: 200,
      body: {
        works: true,
        reason: null,
        connection: {
          status: 'active',
          last_verified_at: new Date(clock()).toISOString(),
          expires_at: '2027-01-01T00:00:00.000Z',
          user: { username: 'maria', name: 'Maria Bianchi' },
        },
      },
    })
  })

  t.test('says why a pasted token is dead, and goes on saying the first cause', async (t) => {
    const { id, token } = await connectPasted()
    clock.advance(60)
    simulator.world.revokeToken(token)
    const before = (await rowOf(stage, id)).last_verified_at
    t.match(await verify(id), {
      status: 200,
      body: {
        works: false,
        reason: 'token_revoked',
        connection: { status: 'revoked', status_reason: 'token_revoked' },
      },
    })
    t.same((await rowOf(stage, id)).last_verified_at, before, 'which confirms nothing')
    simulator.world.accessTokens.find(token)!.expiresAt = '2026-11-01'
    t.match(await verify(id), {
      body: {
        works: false,
        reason: 'token_expired',
        connection: { status: 'revoked', status_reason: 'token_revoked' },
      },
    })
  })

  t.test('of a dead OAuth token keeps it from scanners until it is refreshed', async (t) => {
    const id = await connect(stage)
    simulator.clock.advance(7_300)
    t.teardown(() => simulator.clock.advance(-7_300))
    t.match(await verify(id), {
      status: 200,
      body: { works: false, reason: 'token_expired', connection: { status: 'active' } },
    })
    simulator.faults.add({ match: REFRESH, effect: { kind: 'status', status: 503 } })
    t.match(await lookUp(stage, id), { status: 503 })
    clock.advance(5)
    await broker.jobs.mendConnections()
    t.match(await rowOf(stage, id), { token_version: 2, ...NO_TROUBLE })
    t.match(await lookUp(stage, id), { status: 200, body: { token_version: 2 } })
  })

  t.test('while GitLab is away answers that, and changes nothing', async (t) => {
    const { id } = await connectPasted()
    const before = await rowOf(stage, id)
    clock.advance(60)
    for (const effect of [
      { kind: 'status', status: 500 },
      { kind: 'cut-before' },
      { kind: 'rate-limit', retryAfterSeconds: 7 },
    ] as const) {
      simulator.faults.add({ match: SELF, effect })
      t.match(await verify(id), { status: 503, body: { code: 'gitlab_unavailable' } })
    }
    t.same(await rowOf(stage, id), before)
    clock.advance(7)
  })

  t.test('of a token that is being changed right now says neither yes nor no', async (t) => {
    const { id } = await connectPasted()
    await setColumns(id, {
      attempt_id: id,
      attempt_kind: 'rotate',
      attempt_deadline: new Date(clock() + 9_000),
      attempt_sent_at: new Date(clock()),
    })
    const before = await rowOf(stage, id)
    const answer = await verify(id)
    t.match(answer, {
      status: 503,
      body: { code: 'gitlab_unavailable', detail: /may still be working on a rotation/ },
    })
    t.same(await rowOf(stage, id), before)
  })

  t.test('settles a doubt about a pasted token, once GitLab can no longer act', async (t) => {
    const { id } = await connectPasted()
    await setColumns(id, {
      unanswered_since: new Date(clock()),
      failing_since: new Date(clock()),
      failure_code: 'rotation_answer_lost',
      failure_detail: 'lost',
    })
    const before = await rowOf(stage, id)
    clock.advance(59)
    t.match(await verify(id), { status: 503, body: { code: 'gitlab_unavailable' } }, 'GitLab may still act')
    t.same(await rowOf(stage, id), before)
    clock.advance(1)
    t.match(await verify(id), { body: { works: true, connection: { status: 'active' } } })
    t.match(await rowOf(stage, id), NO_TROUBLE)
  })

  t.test('settles none about an OAuth token: its refresh may still be carried out', async (t) => {
    const id = await connect(stage)
    await setColumns(id, {
      unanswered_since: new Date(clock()),
      failing_since: new Date(clock()),
      failure_code: 'refresh_answer_lost',
      failure_detail: 'lost',
    })
    t.match(await verify(id), { body: { works: true, connection: { status: 'active' } } })
    t.match(await rowOf(stage, id), { unanswered_since: new Date(clock()) })
    t.match(await lookUp(stage, id), { status: 200, body: { token_version: 2 } })
  })

  t.test('does not mend a refused refresh token, though the access token still works', async (t) => {
    const id = await connect(stage)
    await setColumns(id, {
      status: 'needs_reauthorization',
      status_reason: 'refresh_token_refused',
      status_detail: 'refused',
    })
    t.match(await verify(id), {
      body: {
        works: true,
        connection: { status: 'needs_reauthorization', status_reason: 'refresh_token_refused' },
      },
    })
  })

  t.test("finds out when GitLab says that the token is somebody else's", async (t) => {
    const { id } = await connectPasted()
    await setColumns(id, { gitlab_user_id: '99' })
    t.match(await verify(id), {
      body: {
        works: false,
        reason: 'token_unknown',
        detail: /another account/,
        connection: { status: 'revoked' },
      },
    })
  })
})
