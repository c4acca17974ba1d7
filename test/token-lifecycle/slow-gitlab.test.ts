import t from 'tap'
import { type Answer, type Stage, setStage, startTestBroker } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { connect, HALF_LIFE, lookUp, NO_TROUBLE, OUT, REFRESH, rowOf, until } from '../support/lifecycle.ts'

const UNAVAILABLE = { status: 503, body: { code: 'gitlab_unavailable' } }
const ROTATE = { path: '/api/v4/personal_access_tokens/self/rotate' }
const served = (version: number) => ({ status: 200, body: { token_version: version } })
const retryAfter = ({ headers }: Answer) => Number(headers.get('retry-after'))

const hold = ({ simulator }: Stage, match: object, times = 1) => {
  const { promise, resolve } = Promise.withResolvers<void>()
  simulator.faults.add({ match, times, effect: { kind: 'hold-after', until: promise } })
  return resolve
}

t.test('a GitLab that answers late costs no connection', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const second = { broker: await startTestBroker(t, { database: broker.database, clock }) }
  const ids = await Promise.all(Array.from({ length: 12 }, () => connect(stage)))
  clock.advance(OUT)
  const answer = hold(stage, REFRESH, 12)
  simulator.requests.clear()

  const asking = Promise.all(ids.map((id) => lookUp(stage, id)))
  await until(() => simulator.world.events.filter(({ kind }) => kind === 'refreshed').length === 12)
  const rows = () => Promise.all(ids.map((id) => rowOf(stage, id)))
  clock.advance(25)
  await until(async () =>
    (await rows()).every(({ attempt_deadline }) => attempt_deadline!.getTime() === clock() + 30_000),
  )
  t.pass('the claims are prolonged while GitLab is asked')
  for (const impatient of await asking) {
    t.match(impatient, UNAVAILABLE, 'who asks waits for some seconds')
    t.equal(retryAfter(impatient), 5)
  }
  t.match(await Promise.all([lookUp(stage, ids[0]!), lookUp(second, ids[1]!)]), [UNAVAILABLE, UNAVAILABLE])
  t.equal(simulator.requests.count(REFRESH), 12, 'neither replica starts a second refresh')

  answer()
  await until(async () => (await rows()).every(({ token_version }) => token_version === 2))
  for (const id of ids) {
    const credential = await lookUp(second, id)
    t.match(credential, served(2))
    t.equal(simulator.world.tokenState(credential.body.token), 'active')
  }
  t.match((await rows())[0], NO_TROUBLE)
  t.equal(simulator.requests.count(REFRESH), 12)
})

t.test('a graceful end waits for a late answer, and saves it', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const id = await connect(stage)
  const pasted = await connectToken(stage, { scopes: ['read_repository', 'self_rotate'] })
  clock.advance(OUT)
  const answerRefresh = hold(stage, REFRESH)
  const answerRotation = hold(stage, ROTATE)
  const asking = lookUp(stage, id).catch(() => undefined)
  const rotating = broker.post(`/v1/connections/${pasted.id}/rotate`).catch(() => undefined)
  await until(
    () =>
      simulator.world.events.filter(({ kind }) => kind === 'refreshed' || kind === 'rotated').length === 2,
  )
  const closed = broker.close()
  answerRefresh()
  answerRotation()
  await Promise.all([closed, asking, rotating])
  t.match(await rowOf(stage, id), { token_version: 2, ...NO_TROUBLE })
  t.match(await rowOf(stage, pasted.id), { token_version: 2, ...NO_TROUBLE })
})

for (const answer of [502, 500, 504, 'cut'] as const) {
  t.test(
    `GitLab acts after an answer (${answer}) that is not its own: nobody gets a token that dies`,
    async (t) => {
      const stage = await setStage(t)
      const { broker, simulator, clock } = stage
      const id = await connect(stage)
      const { promise, resolve } = Promise.withResolvers<void>()
      clock.advance(HALF_LIFE)
      simulator.faults.add({ match: REFRESH, effect: { kind: 'act-later', answer, until: promise } })
      t.match(await lookUp(stage, id), UNAVAILABLE)
      t.match(await lookUp(stage, id), UNAVAILABLE, 'the token works, and dies in a moment')
      resolve()
      await until(() => simulator.world.events.some(({ kind }) => kind === 'refreshed'))
      clock.advance(5)
      t.match(await lookUp(stage, id), UNAVAILABLE)
      t.match(await rowOf(stage, id), { token_version: 1, failure_code: 'refresh_answer_lost' })
      const leases = await broker.db
        .selectFrom('leases')
        .select('id')
        .where('connection_id', '=', id)
        .execute()
      t.same(leases, [])
    },
  )
}

t.test('whatever GitLab says of the life of a token, a lookup causes one refresh', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const issued = (expires_in: unknown, number: number) =>
    JSON.stringify({
      access_token: `FAKE-access-token-${number}`,
      token_type: 'Bearer',
      expires_in,
      refresh_token: `FAKE-refresh-token-${number}`,
      scope: 'read_api read_repository',
      created_at: 1,
    })
  const cases: [expiresIn: unknown, life: number | null][] = [
    [7_200, 7_200],
    ['7200', 7_200],
    ['7200.5', 7_200],
    [0, 300],
    [-5, 300],
    ['soon', 300],
    ['', 300],
    [1e15, 300],
    [{}, 300],
    [[], 300],
    [true, 300],
    [null, null],
    [undefined, null],
  ]
  for (const [number, [expiresIn, life]] of cases.entries()) {
    const id = await connect(stage)
    clock.advance(OUT)
    simulator.requests.clear()
    const effect = { kind: 'status' as const, status: 200, body: issued(expiresIn, number) }
    simulator.faults.add({ match: REFRESH, times: 1, effect })
    const answer = await lookUp(stage, id)
    const name = `expires_in ${JSON.stringify(expiresIn)}`
    t.match(answer, { status: 200, body: { token: `FAKE-access-token-${number}`, token_version: 2 } }, name)
    t.equal(answer.body.expires_in, life, name)
    t.equal(simulator.requests.count(REFRESH), 1, name)
  }

  const id = await connect(stage)
  clock.advance(OUT)
  simulator.requests.clear()
  // So short that it is over on the way: the lookup does not ask again and again.
  const effect = { kind: 'status' as const, status: 200, body: issued(1, 99) }
  simulator.faults.add({ match: REFRESH, times: 9, effect })
  const before = clock()
  const asking = lookUp(stage, id)
  await until(() => simulator.requests.count(REFRESH) > 0)
  clock.advance((before + 2_000 - clock()) / 1000)
  const answer = await asking
  t.ok([200, 422].includes(answer.status), answer.text)
  t.equal(simulator.requests.count(REFRESH), 1)
  t.equal((await broker.get(`/v1/connections/${id}`)).body.token_version, 2)
})

t.test('a token is saved, whatever else GitLab says with it', async (t) => {
  const stage = await setStage(t)
  const { simulator, clock } = stage
  for (const [number, rest] of [
    { scope: ['read_repository'] },
    { scope: { a: 1 } },
    { scope: 'read_repository \u0000 \ud800', expires_in: '7200' },
    { scope: 5, refresh_token: 7 },
    { refresh_token: 'with a blank', created_at: 'x', token_type: null },
    { scope: 'x'.repeat(60_000) },
  ].entries()) {
    const id = await connect(stage)
    clock.advance(OUT)
    const token = `FAKE-access-token-${number}`
    const body = JSON.stringify({ access_token: token, ...rest })
    simulator.faults.add({ match: REFRESH, effect: { kind: 'status', status: 200, body } })
    t.match(await lookUp(stage, id), { status: 200, body: { token } }, JSON.stringify(rest).slice(0, 60))
    const row = await rowOf(stage, id)
    t.ok(row.refresh_token !== null)
    t.same(
      row.scopes.filter((scope) => !/^[a-z_]+$/.test(scope)),
      [],
    )
  }
})
