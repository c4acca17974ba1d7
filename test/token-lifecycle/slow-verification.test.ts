import t from 'tap'
import { type Answer, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import {
  connect,
  createReplica,
  lookUp,
  NO_TROUBLE,
  OUT,
  REFRESH,
  rowOf,
  until,
} from '../support/lifecycle.ts'

const SELF = { path: '/api/v4/personal_access_tokens/self' }
const REVOKE = { path: '/oauth/revoke' }
const UNAVAILABLE = { status: 503, body: { code: 'gitlab_unavailable' } }
const retryAfter = ({ headers }: Answer) => Number(headers.get('retry-after'))
const served = (version: number) => ({ status: 200, body: { token_version: version } })

t.test('while GitLab is slow to say what a token is, or to revoke it', async (t) => {
  const stage = await setStage(t, { broker: { gitlab: { timeoutMs: 120_000 } } })
  const { broker, simulator, clock } = stage
  const hold = (match: object, times: number) => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const rule = { match, times, effect: { kind: 'hold' as const, until: promise } }
    return { armed: simulator.faults.add(rule), release: resolve }
  }
  const [doubted, reported, verified] = await Promise.all(
    ['doubted', 'reported', 'verified'].map((name) => connectToken(stage, { organization: name })),
  )
  const lease = await lookUp(stage, reported!.id)
  const leaving = await connect(stage)
  await broker.db
    .updateTable('connections')
    .set({ unanswered_since: new Date(clock()), failing_since: new Date(clock()) })
    .where('id', '=', doubted!.id)
    .execute()
  clock.advance(60)
  const inspections = hold(SELF, 3)
  const revocation = hold(REVOKE, 1)

  const start = performance.now()
  const asking = Promise.all([
    lookUp(stage, doubted!.id),
    broker.post(`/v1/leases/${lease.body.lease_id}/rejection`),
    broker.post(`/v1/connections/${verified!.id}/verify`),
  ])
  const disconnecting = broker.request('DELETE', `/v1/connections/${leaving}`)
  await until(() => inspections.armed.fired() === 3 && revocation.armed.fired() === 1)

  const leaseLeaving = lookUp(stage, leaving)
  clock.advance(25)
  const deadline = clock() + 30_000

  await t.test('who asks waits for some seconds', async (t) => {
    for (const answer of [...(await asking), await leaseLeaving]) {
      t.match(answer, UNAVAILABLE)
      t.equal(retryAfter(answer), 5)
    }
    t.ok(performance.now() - start < 30_000)
    t.match(await rowOf(stage, doubted!.id), { unanswered_since: Date }, 'nothing is known yet')
  })

  await t.test('the claim of who disconnects is prolonged', async (t) => {
    await until(async () => (await rowOf(stage, leaving)).attempt_deadline!.getTime() === deadline)
    revocation.release()
    t.equal((await disconnecting).status, 204)
  })

  await t.test('a late answer is written down all the same, and each was asked for once', async (t) => {
    inspections.release()
    await until(async () => (await rowOf(stage, doubted!.id)).unanswered_since === null)
    t.match(await rowOf(stage, doubted!.id), NO_TROUBLE)
    t.match(await lookUp(stage, doubted!.id), served(1))
    t.equal(simulator.requests.count(SELF), 6, 'three when they were connected, and three now')
  })
})

t.test('a late answer that is saved while its connection is revoked is revoked too', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const id = await connect(stage)
  const replica = await createReplica(t, stage)
  clock.advance(OUT)
  const answered = Promise.withResolvers<void>()
  const revoked = Promise.withResolvers<void>()
  simulator.faults.add({ match: REFRESH, effect: { kind: 'hold-after', until: answered.promise } })
  const refreshing = replica.refresh(id, { knownVersion: 1, onConflict: 'respect', reason: 'too_short' })
  await until(() => simulator.world.events.some(({ kind }) => kind === 'refreshed'))
  // The replica lost its database for a while: its claim ends, and its answer is still to come.
  clock.advance(31)
  const held = simulator.faults.add({ match: REVOKE, effect: { kind: 'hold', until: revoked.promise } })
  const disconnecting = broker.request('DELETE', `/v1/connections/${id}`)
  await until(() => held.fired() === 1)
  answered.resolve()
  t.match(await refreshing, { kind: 'newer_version' })
  revoked.resolve()
  const overtaken = await disconnecting
  t.match(overtaken, UNAVAILABLE)
  t.equal(retryAfter(overtaken), 1)
  t.match(await rowOf(stage, id), { token_version: 2 })

  const { token } = (await lookUp(stage, id)).body
  t.equal((await broker.request('DELETE', `/v1/connections/${id}`)).status, 204)
  t.equal(simulator.world.tokenState(token), 'revoked')
})
