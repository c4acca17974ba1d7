import t from 'tap'
import { v7 as uuidv7 } from 'uuid'
import { SEEDED_APP } from '../../simulator/seed.ts'
import { openKeyRing } from '../../src/vault/key-ring.ts'
import { createVault } from '../../src/vault/vault.ts'
import { SLICE_SECONDS } from '../../src/weather/queries.ts'
import { REFUSAL_BUDGET, RESERVE, reserveOf, WINDOW_SECONDS } from '../../src/weather/refusal-budget.ts'
import { MASTER_KEY, type Stage, setStage } from '../support/broker.ts'
import { connect, HALF_LIFE, lookUp, OUT, REFRESH, rowOf } from '../support/lifecycle.ts'

/** Many connections of one OAuth app, each with a pair of its own. The first is made over HTTP, the others are like it. */
const connectMany = async (stage: Stage, count: number): Promise<{ ids: string[]; tokens: string[] }> => {
  const { broker, simulator, clock } = stage
  const model = await rowOf(stage, await connect(stage))
  const tokens = [(await lookUp(stage, model.id)).body.token]
  const vault = createVault(await openKeyRing(broker.db, [MASTER_KEY], clock))
  const scopes = ['read_api', 'read_user', 'read_repository']
  const copy = async (_: unknown, number: number) => {
    const id = uuidv7()
    const wanted = { username: 'maria', clientId: SEEDED_APP.clientId, scopes }
    const { accessToken, refreshToken } = simulator.world.issueOAuthToken(wanted)
    tokens.push(accessToken)
    const binding = { ownerId: id, version: model.token_version }
    return {
      ...model,
      id,
      organization: `many-${number}`,
      grant_id: null,
      access_token: await vault.seal(accessToken, { ...binding, use: 'access' }),
      refresh_token: await vault.seal(refreshToken, { ...binding, use: 'refresh' }),
    }
  }
  const rows = await Promise.all(Array.from({ length: count - 1 }, copy))
  for (let from = 0; from < rows.length; from += 100)
    await broker.db
      .insertInto('connections')
      .values(rows.slice(from, from + 100))
      .execute()
  return { ids: [model.id, ...rows.map(({ id }) => id)], tokens }
}

const conditionsOf = async ({ broker, instanceId }: Stage) =>
  (await broker.get(`/v1/instances/${instanceId}/conditions`)).body

/** The most refusals in any three minutes. */
const worstWindow = ({ simulator }: Stage): number => {
  const times = simulator.requests
    .all()
    .filter(({ status }) => status === 400 || status === 401 || status === 403)
    .map(({ at }) => at)
  return Math.max(
    0,
    ...times.map((from) => times.filter((at) => at >= from && at < from + WINDOW_SECONDS * 1000).length),
  )
}

t.test('forty connections of an app whose secret was renewed are one incident', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const { ids } = await connectMany(stage, 40)
  clock.advance(HALF_LIFE)
  simulator.world.changeAppSecret(SEEDED_APP.clientId, 'gloas-FAKE-renewed')
  simulator.requests.clear()
  for (const answer of await Promise.all(ids.map((id) => lookUp(stage, id))))
    t.equal(answer.status, 200, 'served while the token lives')
  const found = await conditionsOf(stage)
  t.match(found, {
    state: 'incident',
    incidents: [{ cause: 'oauth_app_rejected', oauth_app: 'simulator', state: 'open', detail: /secret/ }],
  })
  t.equal(found.incidents.length, 1)
  t.ok(found.refusals.spent > 0)
  const before = simulator.requests.count(REFRESH)
  clock.advance(61)
  await broker.jobs.mendConnections()
  t.ok(simulator.requests.count(REFRESH) - before <= 1, 'one is tried for all')
  for (const id of ids) t.match(await rowOf(stage, id), { status: 'active' })
  t.ok(worstWindow(stage) < REFUSAL_BUDGET)
  const explained = await broker.get(
    `/v1/credentials/explain?organization=many-1&url=${encodeURIComponent(`${simulator.url}/acme/web-shop`)}`,
  )
  t.match(explained.body.conditions, [{ base_url: simulator.url, state: 'incident' }])

  const [app] = (await broker.get('/v1/oauth-apps')).body.items
  const changed = await broker.request('PATCH', `/v1/oauth-apps/${app.id}`, {
    body: { client_secret: 'gloas-FAKE-renewed' },
  })
  t.equal(changed.status, 200, changed.text)
  clock.advance(OUT - HALF_LIFE)
  for (const answer of await Promise.all(ids.map((id) => lookUp(stage, id))))
    t.match(answer, { status: 200, body: { token_version: 2 } }, 'the corrected secret is used at once')
  t.match((await conditionsOf(stage)).incidents, [{ state: 'closed' }])
})

t.test(
  'a thousand connections revoked at once: one incident, and never more refusals than the budget',
  async (t) => {
    const stage = await setStage(t)
    const { broker, simulator, clock } = stage
    const COUNT = 1_000
    const { ids, tokens } = await connectMany(stage, COUNT)
    clock.advance(OUT)
    for (const token of tokens) simulator.world.revokeToken(token)
    simulator.requests.clear()
    const answers = await Promise.all(ids.slice(0, 200).map((id) => lookUp(stage, id)))
    t.same([...new Set(answers.map(({ status }) => status))], [503])
    // As the lookups of the others would leave them: in an incident nothing is sent.
    await broker.db
      .updateTable('connections')
      .set({ failing_since: new Date(clock()) })
      .where('id', 'in', ids.slice(200))
      .execute()
    t.equal(
      (await broker.db.selectFrom('connections').select('id').where('status', '<>', 'active').execute())
        .length,
      0,
      'none is declared dead before the canary tells',
    )
    t.equal((await conditionsOf(stage)).incidents.length, 1)
    let left = COUNT
    // The budget lets so many through in its window. Chance spreads them, so twice that time is allowed.
    const windowMinutes = (WINDOW_SECONDS + SLICE_SECONDS) / 60
    const mostMinutes = 2 * (COUNT / ((REFUSAL_BUDGET - RESERVE) / windowMinutes))
    for (let minute = 0; minute < mostMinutes && left > 0; minute += 1) {
      clock.advance(60)
      await broker.jobs.mendConnections()
      const rows = await broker.db
        .selectFrom('connections')
        .select('id')
        .where('status', '=', 'active')
        .execute()
      left = rows.length
    }
    t.equal(left, 0, 'all are marked')
    const reasons = await broker.db.selectFrom('connections').select('status_reason').distinct().execute()
    t.same(reasons, [{ status_reason: 'refresh_token_refused' }], 'with the cause')
    const { incidents } = await conditionsOf(stage)
    t.equal(incidents.length, 1)
    t.match(incidents, [{ cause: 'refresh_token_refused', state: 'confirmed' }])
    const worst = worstWindow(stage)
    t.ok(worst < REFUSAL_BUDGET, `${worst} refusals in three minutes`)
  },
)

t.test('a connection that was not refused is refreshed while many others of its app are', async (t) => {
  const stage = await setStage(t)
  const { simulator, clock } = stage
  const { ids, tokens } = await connectMany(stage, 14)
  const [healthy, ...revoked] = ids as [string, ...string[]]
  clock.advance(OUT)
  for (const token of tokens.slice(1)) simulator.world.revokeToken(token)
  for (const answer of await Promise.all(revoked.map((id) => lookUp(stage, id)))) t.equal(answer.status, 503)
  t.match((await conditionsOf(stage)).incidents, [{ cause: 'refresh_token_refused', state: 'open' }])
  t.match(await lookUp(stage, healthy), { status: 200, body: { token_version: 2 } })
})

t.test('what was refused once is tried again soon, however many others are refused for good', async (t) => {
  const stage = await setStage(t)
  const { simulator, clock } = stage
  const { ids, tokens } = await connectMany(stage, 9)
  const [healthy, ...revoked] = ids as [string, ...string[]]
  clock.advance(OUT - 140)
  for (const token of tokens.slice(1)) simulator.world.revokeToken(token)
  const lookUpRevoked = () => Promise.all(revoked.map((id) => lookUp(stage, id)))
  await lookUpRevoked()
  for (let seconds = 0; seconds < 140; seconds += 5) {
    clock.advance(5)
    await lookUpRevoked()
  }
  simulator.faults.add({ match: { path: '/oauth/token' }, times: 1, effect: { kind: 'invalid-grant' } })
  t.equal((await lookUp(stage, healthy)).status, 503)
  let answer = await lookUp(stage, healthy)
  for (let seconds = 0; seconds < 30 && answer.status !== 200; seconds += 5) {
    clock.advance(5)
    await lookUpRevoked()
    answer = await lookUp(stage, healthy)
  }
  t.match(answer, { status: 200, body: { token_version: 2 } })
})

t.test('the turns of an incident are paid from the budget of refusals', async (t) => {
  const stage = await setStage(t)
  const { simulator, clock } = stage
  const { ids, tokens } = await connectMany(stage, 80)
  clock.advance(OUT - 400)
  for (const token of tokens) simulator.world.revokeToken(token)
  simulator.requests.clear()
  for (let seconds = 0; seconds < 360; seconds += 5) {
    await Promise.all(ids.map((id) => lookUp(stage, id)))
    clock.advance(5)
  }
  const worst = worstWindow(stage)
  t.ok(worst < REFUSAL_BUDGET, `${worst} refusals in three minutes`)
})

t.test('who was refused more often leaves more of the budget to the others, whatever failed before', (t) => {
  const at = Date.parse('2026-11-02T10:30:00Z')
  const cases: [name: string, failures: number, refusedSeconds: number | undefined, reserve: number][] = [
    ['never refused, after a long outage', 9, undefined, 30],
    ['refused once, first retry', 1, 5, 30],
    ['refused once, and nobody asked for a while', 1, 60, 30],
    ['refused once, and no answer to the first retry', 2, 5, 30],
    ['refused twice', 2, 15, 40],
    ['refused four times', 4, 75, 40],
    ['refused five times', 5, 135, 50],
    ['refused for minutes', 9, 290, 50],
    ['refused for so long that the next refusal is the last', 9, 300, 40],
  ]
  for (const [name, failure_count, seconds, reserve] of cases) {
    const refused_since = seconds === undefined ? null : new Date(at - seconds * 1000)
    t.equal(reserveOf({ refused_since, failure_count }, at), reserve, name)
  }
  t.end()
})

t.test(
  'a connection that is refused once after an outage is tried again before those that are refused for good',
  async (t) => {
    const stage = await setStage(t)
    const { broker, simulator, clock, instanceId } = stage
    const id = await connect(stage)
    clock.advance(OUT)
    const outage = simulator.faults.add({
      match: REFRESH,
      times: Number.POSITIVE_INFINITY,
      effect: { kind: 'status', status: 503 },
    })
    for (let tries = 0; tries < 3; tries += 1) {
      t.equal((await lookUp(stage, id)).status, 503)
      clock.advance(61)
    }
    outage.remove()
    simulator.faults.add({ match: REFRESH, times: 1, effect: { kind: 'invalid-grant' } })
    t.equal((await lookUp(stage, id)).status, 503)
    const minute = new Date(Math.floor(clock() / 60_000) * 60_000)
    await broker.db
      .insertInto('instance_refusals')
      .values({ instance_id: instanceId, minute, refusals: 45 })
      .onConflict((conflict) => conflict.columns(['instance_id', 'minute']).doUpdateSet({ refusals: 45 }))
      .execute()
    await broker.jobs.mendConnections()
    clock.advance(5)
    t.match(await lookUp(stage, id), { status: 200, body: { token_version: 2 } })
  },
)
