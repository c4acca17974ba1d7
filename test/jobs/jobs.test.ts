import t from 'tap'
import { type Stage, setStage, startTestBroker } from '../support/broker.ts'
import { createFakeClock } from '../support/clock.ts'
import { connectToken } from '../support/connect.ts'
import { connect, lookUp, NO_TROUBLE, OUT, REFRESH, rowOf } from '../support/lifecycle.ts'
import { authorize, callBack, createSession } from '../support/oauth.ts'

const INFO = { path: '/oauth/token/info' }

t.test('mending', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const mend = () => broker.jobs.mendConnections()

  t.test('leaves alone what is well, whoever could be refreshed', async (t) => {
    const id = await connect(stage)
    await connectToken(stage)
    clock.advance(OUT)
    simulator.requests.clear()
    await mend()
    t.equal(simulator.requests.count(), 0)
    t.match(await rowOf(stage, id), { token_version: 1, ...NO_TROUBLE })
  })

  t.test('refreshes what failed, when it is time to try again, without anybody asking', async (t) => {
    const id = await connect(stage)
    clock.advance(OUT)
    simulator.faults.add({ match: REFRESH, times: 2, effect: { kind: 'status', status: 503 } })
    await lookUp(stage, id)
    simulator.requests.clear()
    await mend()
    t.equal(simulator.requests.count(), 0, 'not yet')
    clock.advance(5)
    await mend()
    t.match(await rowOf(stage, id), { token_version: 1, failure_count: 2 })
    clock.advance(10)
    await mend()
    t.match(await rowOf(stage, id), { token_version: 2, ...NO_TROUBLE })
    t.equal(simulator.requests.count(REFRESH), 2)
  })

  t.test('disturbs no scanner', async (t) => {
    const id = await connect(stage)
    clock.advance(4_000)
    simulator.faults.add({ match: REFRESH, effect: { kind: 'status', status: 503 } })
    const held = await lookUp(stage, id, { min_ttl: 600 })
    clock.advance(60)
    await mend()
    t.equal(simulator.world.tokenState(held.body.token), 'active')
    clock.advance(540)
    await mend()
    t.match(await rowOf(stage, id), { token_version: 2, ...NO_TROUBLE })
  })

  t.test('takes over from processes that died, once their claims have ended', async (t) => {
    const oauth = await connect(stage)
    const pasted = await connectToken(stage, { organization: 'dead-rotation' })
    const leaveBehind = (id: string, kind: 'refresh' | 'rotate') =>
      broker.db
        .updateTable('connections')
        .set({
          attempt_id: id,
          attempt_kind: kind,
          attempt_deadline: new Date(clock() + 30_000),
          attempt_sent_at: new Date(clock()),
        })
        .where('id', '=', id)
        .execute()
    await leaveBehind(oauth, 'refresh')
    await leaveBehind(pasted.id, 'rotate')
    await mend()
    t.match(await rowOf(stage, oauth), { token_version: 1, attempt_id: oauth })
    clock.advance(30)
    await mend()
    t.match(await rowOf(stage, oauth), { token_version: 2, ...NO_TROUBLE })
    t.type((await rowOf(stage, pasted.id)).attempt_sent_at, Date, 'GitLab may still act on the rotation')
    clock.advance(30)
    await mend()
    t.match(await rowOf(stage, pasted.id), { token_version: 1, status: 'active', ...NO_TROUBLE })
  })

  t.test('goes on when one connection cannot be mended', async (t) => {
    const ids = [await connect(stage), await connect(stage), await connect(stage)]
    clock.advance(OUT)
    simulator.faults.add({ match: REFRESH, times: 3, effect: { kind: 'status', status: 503 } })
    for (const id of ids) await lookUp(stage, id)
    const [damaged = '', ...others] = ids
    await broker.db
      .updateTable('connections')
      .set({ refresh_token: 'damaged' })
      .where('id', '=', damaged)
      .execute()
    clock.advance(60)
    await mend()
    for (const id of others) t.match(await rowOf(stage, id), { token_version: 2, ...NO_TROUBLE })
    t.match(await rowOf(stage, damaged), { token_version: 1, status: 'active', attempt_id: null })
    t.ok(broker.logLines.some((line) => line.includes(damaged) && line.includes('not done yet')))
  })

  t.test('by two replicas at once refreshes nothing twice', async (t) => {
    const second = await startTestBroker(t, { database: broker.database, clock })
    const ids = await Promise.all(Array.from({ length: 8 }, () => connect(stage)))
    clock.advance(OUT)
    simulator.faults.add({ match: REFRESH, times: 8, effect: { kind: 'status', status: 503 } })
    for (const id of ids) await lookUp(stage, id)
    clock.advance(60)
    simulator.requests.clear()
    await Promise.all([mend(), second.jobs.mendConnections()])
    for (const id of ids) t.match(await rowOf(stage, id), { token_version: 2, ...NO_TROUBLE })
    t.equal(simulator.requests.count(REFRESH), 8)
    t.same(
      simulator.world.events.filter(({ kind }) => kind === 'replay_of_spent_refresh_token'),
      [],
    )
  })
})

t.test('a token that nobody can refresh is marked expired at its end', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  const short = await connectToken(stage, { organization: 'short', expiresAt: '2026-11-03' })
  const long = await connectToken(stage, { organization: 'long' })
  const endless = await connectToken(stage, { organization: 'endless', expiresAt: null })
  const oauth = await connect(stage)
  const statuses = async () =>
    (await Promise.all([short.id, long.id, endless.id, oauth].map((id) => rowOf(stage, id)))).map(
      ({ status }) => status,
    )
  clock.advance(48_599)
  await broker.jobs.mendConnections()
  t.same(await statuses(), ['active', 'active', 'active', 'active'])
  clock.advance(1)
  await broker.jobs.mendConnections()
  t.same(await statuses(), ['expired', 'active', 'active', 'active'])
  t.match((await broker.get(`/v1/connections/${short.id}`)).body, {
    status_reason: 'token_expired',
    status_detail: /reached its end/,
  })
})

t.test('a grant whose owner GitLab could not tell', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const grants = () =>
    broker.db
      .selectFrom('authorization_requests')
      .select(['id', 'grant_jwe'])
      .where('grant_jwe', 'is not', null)
      .execute()
  const connectDuringOutage = async (organization: string, times: number) => {
    const { callback, cookie } = await authorize(stage, { organization })
    simulator.faults.add({ match: INFO, times, effect: { kind: 'status', status: 502 } })
    return callBack(broker, callback, cookie)
  }
  const connectionsOf = async (organization: string) =>
    (await broker.get(`/v1/connections?organization=${organization}`)).body.items

  t.test('is kept, and made a connection when GitLab answers again', async (t) => {
    const end = await connectDuringOutage('patient', 2)
    t.match(end, { status: 'failed', code: 'gitlab_unavailable' })
    const [kept] = await grants()
    t.ok(kept)
    await broker.jobs.completeGrants()
    t.same(await connectionsOf('patient'), [], 'the browser gets a moment first')
    clock.advance(30)
    await broker.jobs.completeGrants()
    t.same(await connectionsOf('patient'), [], 'GitLab is still away')
    await broker.jobs.completeGrants()
    const [connection] = await connectionsOf('patient')
    t.match(connection, {
      status: 'active',
      user: { username: 'maria' },
      token_version: 1,
      refreshable: true,
    })
    t.same(await grants(), [])
    const credential = await lookUp(stage, connection.id)
    t.equal(simulator.world.tokenState(credential.body.token), 'active')
    t.equal(credential.body.expires_in, 7_200 - 30, 'its life counts from when it was issued')
    await broker.jobs.completeGrants()
    t.equal((await connectionsOf('patient')).length, 1)
  })

  t.test('is forgotten when it turns out to be of no use', async (t) => {
    await connectDuringOutage('revoked', 1)
    t.equal((await grants()).length, 1)
    simulator.faults.add({
      match: INFO,
      effect: { kind: 'status', status: 401, body: '{"error":"invalid_token"}' },
    })
    clock.advance(30)
    await broker.jobs.completeGrants()
    t.same(await grants(), [])
    t.same(await connectionsOf('revoked'), [])
  })
})

t.test('what is old is deleted', async (t) => {
  // The ids of leases carry the real time.
  const clock = createFakeClock(Date.now())
  const stage: Stage = await setStage(t, { broker: { clock, config: { leaseRetentionDays: 3 } } })
  const { broker, simulator } = stage
  const { id } = await connectToken(stage)
  const DAY = 86_400
  const count = async (table: 'leases' | 'connect_sessions') =>
    (await broker.db.selectFrom(table).select('id').execute()).length
  await lookUp(stage, id)
  await createSession(broker, { expires_in: 600 })
  const { callback, cookie } = await authorize(stage, {})
  simulator.faults.add({ match: INFO, effect: { kind: 'status', status: 502 } })
  await callBack(broker, callback, cookie)

  await broker.jobs.deleteOld()
  t.same([await count('leases'), await count('connect_sessions')], [1, 2])
  clock.advance(3 * DAY - 60)
  await broker.jobs.deleteOld()
  t.same([await count('leases'), await count('connect_sessions')], [1, 2])
  clock.advance(120)
  await broker.jobs.deleteOld()
  t.same([await count('leases'), await count('connect_sessions')], [0, 2])
  clock.advance(7 * DAY)
  await broker.jobs.deleteOld()
  t.equal(await count('connect_sessions'), 1, 'one whose grant waits for GitLab stays')
  await broker.jobs.completeGrants()
  await broker.jobs.deleteOld()
  t.equal(await count('connect_sessions'), 0)
})
