import t from 'tap'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { connect, HALF_LIFE, lookUp, rowOf } from '../support/lifecycle.ts'

t.test('a limit of one account stops that token alone', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock, instanceId } = stage
  const limited = await connectToken(stage, { organization: 'limited', username: 'maria' })
  const other = await connectToken(stage, { organization: 'other', username: 'tom' })
  const oauth = await connect(stage, 'tom')
  simulator.world.throttles.throttleAccount('maria', 60)
  const verify = (id: string) => broker.post(`/v1/connections/${id}/verify`)
  t.match(await verify(limited.id), { status: 503, body: { code: 'gitlab_unavailable' } })
  simulator.requests.clear()
  t.match(await verify(limited.id), { status: 503 })
  t.equal(simulator.requests.count(), 0, 'GitLab is not asked again with this token')
  t.match(await verify(other.id), { status: 200, body: { works: true } })
  clock.advance(HALF_LIFE)
  simulator.world.throttles.throttleAccount('maria', 60)
  t.match(await verify(limited.id), { status: 503 })
  for (const id of [other.id, oauth, limited.id]) t.match(await lookUp(stage, id), { status: 200 })
  t.equal((await rowOf(stage, oauth)).token_version, 2, 'others are refreshed')
  t.match((await broker.get(`/v1/instances/${instanceId}/conditions`)).body, {
    state: 'throttled',
    version: '18.5.0-ee',
    engine: 'doorkeeper',
    token_life_seconds: 7200,
    circuit: 'closed',
    banned_until: null,
    throttles: [{ name: 'throttle_authenticated_api', scope: 'account' }],
    incidents: [],
  })
})

t.test('a limit of our address stops every call to the instance', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const first = await connectToken(stage, { organization: 'first', username: 'maria' })
  const second = await connectToken(stage, { organization: 'second', username: 'tom' })
  const verify = (id: string) => broker.post(`/v1/connections/${id}/verify`)
  const SELF = { path: '/api/v4/personal_access_tokens/self' }
  simulator.faults.add({ match: SELF, effect: { kind: 'rate-limit', retryAfterSeconds: 30 } })
  t.match(await verify(first.id), { status: 503 })
  simulator.requests.clear()
  t.match(await verify(second.id), { status: 503 })
  t.equal(simulator.requests.count(), 0)
  t.match(await lookUp(stage, second.id), { status: 200 }, 'and no lookup')
  clock.advance(31)
  t.match(await verify(second.id), { status: 200 })
})

t.test('a banned address is left alone for as long as the ban, by every replica', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock, instanceId } = stage
  const { id } = await connectToken(stage, { organization: 'banned' })
  const verify = () => broker.post(`/v1/connections/${id}/verify`)
  const ban = simulator.faults.add({ match: { path: /./ }, times: Infinity, effect: { kind: 'address-ban' } })
  t.match(await verify(), { status: 503, body: { code: 'address_banned' } })
  simulator.requests.clear()
  const answer = await verify()
  t.match(answer, { status: 503, body: { code: 'address_banned' } })
  t.ok(Number(answer.headers.get('retry-after')) > 800)
  t.match(await lookUp(stage, id), { status: 200 })
  clock.advance(890)
  await verify()
  t.equal(simulator.requests.count(), 0, 'nothing is sent for a quarter of an hour')
  t.match((await broker.get(`/v1/instances/${instanceId}/conditions`)).body, {
    state: 'banned',
    version: null,
    banned_until: String,
  })
  const { rows } = { rows: await broker.db.selectFrom('instance_bans').selectAll().execute() }
  t.match(rows, [{ instance_id: instanceId }], 'the others read it here')
  clock.advance(11)
  t.match(await verify(), { status: 503, body: { code: 'address_banned' } }, 'one call tries')
  clock.advance(901)
  ban.remove()
  simulator.requests.clear()
  t.match(await verify(), { status: 503 }, 'the second ban lasts longer')
  t.equal(simulator.requests.count(), 0)
  clock.advance(901)
  t.match(await verify(), { status: 200, body: { works: true } })
  t.match((await broker.get(`/v1/instances/${instanceId}/conditions`)).body, { state: 'clear' })
})
