import t from 'tap'
import { PROXIES, type ProxyName } from '../../simulator/proxies.ts'
import type { UserState } from '../../simulator/user-states.ts'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { connect, lookUp, OUT, REFRESH, rowOf } from '../support/lifecycle.ts'

/** Every call with which GitLab is asked about a token. */
const ANY_QUESTION = { path: /^\/(api\/v4\/|oauth\/token\/info)/ }

t.test('what stands in front of GitLab ends no connection', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const names: ProxyName[] = [
    'oauth2_proxy',
    'cloudflare_access',
    'nginx_403',
    'keycloak',
    'login_page',
    'kong',
  ]
  const reject = (leaseId: string) => broker.post(`/v1/leases/${leaseId}/rejection`)
  const pasted = await connectToken(stage, { organization: 'behind-a-proxy' })
  const oauth = await connect(stage)
  for (const id of [pasted.id, oauth])
    for (const proxy of names) {
      t.ok(PROXIES[proxy], proxy)
      const { body } = await lookUp(stage, id)
      simulator.faults.add({ match: ANY_QUESTION, times: Infinity, effect: { kind: 'proxy', proxy } })
      const answer = await reject(body.lease_id)
      t.match(answer, { status: 503, body: { code: 'gitlab_unavailable' } }, proxy)
      t.ok(Number(answer.headers.get('retry-after')) > 0, proxy)
      t.match(await broker.post(`/v1/connections/${id}/verify`), { status: 503 }, proxy)
      simulator.faults.clear()
      t.match(await rowOf(stage, id), { status: 'active', unanswered_since: null }, proxy)
      t.match(await lookUp(stage, id), { status: 200, body: { token_version: 1 } }, `${proxy}: still served`)
    }

  clock.advance(OUT)
  simulator.faults.add({ match: REFRESH, effect: { kind: 'proxy', proxy: 'oauth2_proxy' } })
  const late = await lookUp(stage, oauth)
  t.match(late, { status: 503, body: { code: 'gitlab_unavailable' } }, 'only when the token no longer lives')
  t.ok(Number(late.headers.get('retry-after')) > 0)
  clock.advance(60)
  t.match(await lookUp(stage, oauth), { status: 200, body: { token_version: 2 } })
})

t.test('one 401 about an OAuth token breaks no lease: the second must say the same', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const id = await connect(stage)
  const { body } = await lookUp(stage, id)
  await lookUp(stage, id, { min_ttl: 6_000 })
  const body401 = JSON.stringify({
    error: 'invalid_token',
    error_description: 'Token was revoked. You have to re-authorize from the user.',
  })
  const INFO = { path: '/oauth/token/info' }
  const fault = simulator.faults.add({ match: INFO, effect: { kind: 'status', status: 401, body: body401 } })
  t.match(await broker.post(`/v1/leases/${body.lease_id}/rejection`), {
    status: 409,
    body: { code: 'token_works' },
  })
  t.equal(fault.fired(), 1)
  t.match(await rowOf(stage, id), { status: 'active', token_version: 1, unanswered_since: null })
  simulator.world.revokeToken(body.token)
  t.match((await broker.post(`/v1/connections/${id}/verify`)).body, { works: false, reason: 'token_revoked' })
})

t.test('a refused owner is waited for, whatever the reason and the method', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const states: [UserState, string, RegExp][] = [
    ['blocked', 'user_blocked', /has been blocked/],
    ['deactivated', 'user_deactivated', /log back in from a web browser/],
    ['terms_not_accepted', 'user_terms_not_accepted', /@maria\) must accept the Terms of Service/],
    ['password_expired', 'user_password_expired', /password expired/],
    ['blocked_pending_approval', 'user_pending_approval', /pending approval/],
    ['unconfirmed', 'user_unconfirmed', /not confirmed/],
    ['internal', 'user_internal', /internal users/],
  ]
  const pasted = await connectToken(stage, { organization: 'waiting' })
  const oauth = await connect(stage)
  for (const [id, some] of [
    [pasted.id, states],
    [oauth, states.slice(0, 2)],
  ] as const)
    for (const [state, code, sentence] of some) {
      const { body } = await lookUp(stage, id)
      simulator.world.setUserState('maria', state)
      t.match(await broker.post(`/v1/leases/${body.lease_id}/rejection`), {
        status: 409,
        body: { code: 'needs_reauthorization', status_reason: code, detail: sentence },
      })
      const refreshes = simulator.requests.count(REFRESH)
      t.match(await lookUp(stage, id), { status: 409, body: { status_reason: code } }, state)
      clock.advance(61)
      await broker.jobs.mendConnections()
      t.match(await lookUp(stage, id), { status: 409 }, `${state}: still`)
      t.equal(simulator.requests.count(REFRESH), refreshes, `${state}: a refresh cannot clear it`)
      simulator.world.setUserState('maria', 'active')
      clock.advance(301)
      await broker.jobs.mendConnections()
      t.match(await lookUp(stage, id), { status: 200 }, `${state}: heals by itself`)
      t.match(await rowOf(stage, id), { status: 'active', status_reason: null, failing_since: null })
    }
})

t.test('a blocked owner of an OAuth connection costs one refresh in the life of a token', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const id = await connect(stage)
  simulator.world.blockUser('maria')
  t.match((await broker.post(`/v1/connections/${id}/verify`)).body, {
    works: false,
    reason: 'user_blocked',
    connection: { status: 'needs_reauthorization', status_reason: 'user_blocked' },
  })
  clock.advance(OUT)
  for (let minute = 0; minute < 20; minute += 1) {
    clock.advance(60)
    await broker.jobs.mendConnections()
    t.match(await lookUp(stage, id), { status: 409, body: { status_reason: 'user_blocked' } })
  }
  t.equal(simulator.requests.count(REFRESH), 1, 'to be able to ask again')
  simulator.world.unblockUser('maria')
  clock.advance(901)
  await broker.jobs.mendConnections()
  t.match(await lookUp(stage, id), { status: 200, body: { token_version: 2 } })
})
