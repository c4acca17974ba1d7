import t from 'tap'
import { DOUBT_SECONDS } from '../../src/token-lifecycle/doubt.ts'
import { nextExpiryDate } from '../../src/token-lifecycle/rotate.ts'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { connect, lookUp, NO_TROUBLE, rowOf, until } from '../support/lifecycle.ts'

const ROTATE = { path: '/api/v4/personal_access_tokens/self/rotate' }
const SELF = { method: 'GET', path: '/api/v4/personal_access_tokens/self' }
const SCOPES = ['read_repository', 'self_rotate']
const served = (version: number) => ({ status: 200, body: { token_version: version } })
const UNAVAILABLE = { status: 503, body: { code: 'gitlab_unavailable' } }
const LOST = { status: 409, body: { code: 'needs_reauthorization' } }

t.test('a rotation', async (t) => {
  const stage = await setStage(t, { broker: { gitlab: { timeoutMs: 400, issuingTimeoutMs: 400 } } })
  const { broker, simulator, clock } = stage
  t.beforeEach(() => {
    simulator.faults.clear()
    simulator.requests.clear()
  })
  let organizations = 0
  const connectPasted = (wanted: Parameters<typeof connectToken>[1] = {}) => {
    organizations += 1
    return connectToken(stage, { organization: `rotated-${organizations}`, scopes: SCOPES, ...wanted })
  }
  const rotate = (id: string, body?: object) => broker.post(`/v1/connections/${id}/rotate`, body)
  const state = (token: string) => simulator.world.tokenState(token)
  const show = async (id: string) => (await broker.get(`/v1/connections/${id}`)).body
  const strike = (effect: Parameters<typeof simulator.faults.add>[0]['effect'], match: object = ROTATE) =>
    simulator.faults.add({ match, effect })
  const releaseAll = (id: string) =>
    broker.db
      .updateTable('leases')
      .set({ released_at: new Date(clock()) })
      .where('connection_id', '=', id)
      .execute()

  t.test('replaces the token by one that lives as long', async (t) => {
    const { id, token } = await connectPasted({ expiresAt: '2027-01-31' })
    const answer = await rotate(id)
    t.match(answer, {
      status: 200,
      body: { token_version: 2, expires_at: '2027-01-31T00:00:00.000Z', status: 'active' },
    })
    t.equal(state(token), 'revoked')
    const credential = await lookUp(stage, id)
    t.match(credential, served(2))
    t.equal(state(credential.body.token), 'active')
    t.equal(credential.body.expires_at, '2027-01-31T00:00:00.000Z', 'GitLab by itself would give it a week')
    t.match(await rowOf(stage, id), NO_TROUBLE)
  })

  t.test("until a day of one's choice", async (t) => {
    const { id } = await connectPasted()
    t.match(await rotate(id, { expires_on: '2026-12-24' }), {
      status: 200,
      body: { expires_at: '2026-12-24T00:00:00.000Z' },
    })
    for (const day of ['2026-11-02', '2030-01-01']) {
      t.match(await rotate(id, { expires_on: day }), { status: 422, body: { code: 'rotation_refused' } })
      t.match(await lookUp(stage, id), served(2), 'what GitLab does not do leaves the token as it was')
      await releaseAll(id)
    }
    t.match(await rotate(id, { expires_on: 'soon' }), { status: 400, body: { code: 'invalid_request' } })
  })

  t.test("of a group's token works the same", async (t) => {
    const { id, token } = await connectPasted({
      kind: 'group',
      path: 'acme',
      scopes: ['read_api', ...SCOPES],
    })
    t.match(await rotate(id), { status: 200, body: { token_version: 2, token_kind: 'group_access_token' } })
    t.equal(state(token), 'revoked')
  })

  t.test('waits for nobody: as long as scanners hold leases it is refused', async (t) => {
    const { id, token } = await connectPasted()
    const { body } = await lookUp(stage, id, { min_ttl: 900 })
    const refused = await rotate(id)
    t.match(refused, {
      status: 409,
      body: { code: 'token_in_use', leased_until: new Date(clock() + 900_000).toISOString() },
    })
    t.equal(refused.headers.get('retry-after'), '900')
    t.equal(simulator.requests.count(ROTATE), 0)
    t.equal(state(token), 'active')
    await broker.request('DELETE', `/v1/leases/${body.lease_id}`)
    t.match(await rotate(id), { status: 200 })
  })

  t.test('takes the scope for it, and a token that is rotated at all', async (t) => {
    const { id } = await connectPasted({ scopes: ['read_repository'] })
    t.match(await rotate(id), {
      status: 422,
      body: { code: 'missing_scopes', missing_scopes: ['self_rotate'] },
    })
    t.match(await rotate(await connect(stage)), { status: 422, body: { code: 'wrong_token_kind' } })
    t.equal(simulator.requests.count(ROTATE), 0)
  })

  t.test('of a token that is dead says so', async (t) => {
    const { id, token } = await connectPasted()
    simulator.world.revokeToken(token)
    t.match(await rotate(id), { status: 422, body: { code: 'token_revoked' } })
    t.match(await rowOf(stage, id), { attempt_id: null })
  })

  t.test(
    'whose answer is lost is never sent again: the old token tells that the new one is gone',
    async (t) => {
      const { id, token } = await connectPasted()
      strike({ kind: 'cut-after' })
      t.match(await rotate(id), LOST)
      t.equal(simulator.requests.count(ROTATE), 1)
      t.match(await show(id), {
        status: 'needs_reauthorization',
        status_reason: 'rotation_answer_lost',
        status_detail:
          /no clear answer to a rotation at .* The old token is revoked, and the new one reached nobody/,
      })
      t.match(await lookUp(stage, id), { ...LOST, body: { status_reason: 'rotation_answer_lost' } })
      t.match(await rotate(id), LOST)
      await broker.jobs.mendConnections()
      t.equal(simulator.requests.count(ROTATE), 1)
      t.match(simulator.world.tokenDetails(token), { state: 'revoked' })
      t.same(
        simulator.world.events.filter(({ kind }) => kind === 'replay_of_rotated_access_token'),
        [],
      )
    },
  )

  for (const [name, effect] of [
    ['meets maintenance mode', { kind: 'maintenance' }],
    ['comes too often', { kind: 'rate-limit', retryAfterSeconds: 30 }],
  ] as const) {
    t.test(`that ${name} leaves the old token at work`, async (t) => {
      const { id } = await connectPasted()
      strike(effect)
      t.match(await rotate(id), UNAVAILABLE)
      t.equal(simulator.requests.count(ROTATE), 1)
      t.match(await lookUp(stage, id), served(1))
      t.match(await rowOf(stage, id), { status: 'active', ...NO_TROUBLE })
      await releaseAll(id)
      clock.advance(30)
      t.match(await rotate(id), { status: 200, body: { token_version: 2 } })
    })
  }

  for (const [name, effect] of [
    ['is cut before GitLab acted', { kind: 'cut-before' }],
    ['fails with 500', { kind: 'status', status: 500 }],
    ['is answered by a web page', { kind: 'html' }],
    ['has no answer in time', { kind: 'hang' }],
  ] as const) {
    t.test(`that ${name} leaves a doubt, which GitLab clears once it can no longer act`, async (t) => {
      const { id, token } = await connectPasted()
      strike(effect)
      t.match(await rotate(id), UNAVAILABLE)
      t.match(await rowOf(stage, id), {
        status: 'active',
        unanswered_since: new Date(clock()),
        failure_code: 'rotation_answer_lost',
      })
      clock.advance(DOUBT_SECONDS - 1)
      t.match(await lookUp(stage, id), UNAVAILABLE, 'the old token works, and may be dead in a moment')
      t.match(
        await rotate(id),
        { status: 409, body: { code: 'needs_reauthorization' } },
        'nor is it rotated again',
      )
      clock.advance(1)
      strike({ kind: 'status', status: 502 }, SELF)
      t.match(await lookUp(stage, id), UNAVAILABLE, 'GitLab does not say yet')
      const credential = await lookUp(stage, id)
      t.match(credential, served(1))
      t.equal(credential.body.token, token)
      t.match(await rowOf(stage, id), { status: 'active', ...NO_TROUBLE })
      t.equal(simulator.requests.count(ROTATE), 1)
      await releaseAll(id)
      clock.advance(30)
      t.match(await rotate(id), { status: 200, body: { token_version: 2 } })
    })
  }

  t.test('that GitLab carries out after its proxy gave up hands out nothing dead', async (t) => {
    const { id, token } = await connectPasted()
    const { promise, resolve } = Promise.withResolvers<void>()
    strike({ kind: 'hold', until: promise })
    t.match(await rotate(id), UNAVAILABLE)
    clock.advance(5)
    t.match(await lookUp(stage, id), UNAVAILABLE)
    resolve()
    await until(() => state(token) === 'revoked')
    await broker.jobs.mendConnections()
    t.match(await lookUp(stage, id), { ...LOST, body: { status_reason: 'rotation_answer_lost' } })
    t.same(await broker.db.selectFrom('leases').select('id').where('connection_id', '=', id).execute(), [])
  })

  t.test('that is under way is waited for by a person who enters a new token', async (t) => {
    const { id, token } = await connectPasted()
    const { promise, resolve } = Promise.withResolvers<void>()
    strike({ kind: 'cut-after' })
    const asked = strike({ kind: 'hold', until: promise }, SELF)
    const rotating = rotate(id)
    while (asked.fired() === 0) await new Promise((wait) => setTimeout(wait, 5))
    t.equal(state(token), 'revoked')
    const { token: entered } = simulator.world.createAccessToken({
      kind: 'personal',
      username: 'maria',
      scopes: SCOPES,
    })
    const enter = () => broker.request('PUT', `/v1/connections/${id}/token`, { body: { token: entered } })
    t.match(await enter(), { status: 503, body: { code: 'gitlab_unavailable' } })
    resolve()
    t.match(await rotating, LOST)
    t.match(await enter(), { status: 200 })
    t.match(await show(id), { status: 'active', status_reason: null, token_version: 2 })
    t.match((await lookUp(stage, id)).body, { token: entered })
  })

  t.test('that a dead process sent is asked about, never repeated', async (t) => {
    const leaveBehind = (id: string) =>
      broker.db
        .updateTable('connections')
        .set({
          attempt_id: '01900000-0000-7000-8000-00000000dead',
          attempt_kind: 'rotate',
          attempt_deadline: new Date(clock() + 30_000),
          attempt_sent_at: new Date(clock()),
        })
        .where('id', '=', id)
        .execute()
    const unharmed = await connectPasted()
    const lost = await connectPasted()
    await leaveBehind(unharmed.id)
    await leaveBehind(lost.id)
    const { accessTokens } = simulator.world
    accessTokens.rotate(accessTokens.find(lost.token)!, '2027-01-01')
    clock.advance(DOUBT_SECONDS + 1)
    t.match(await lookUp(stage, unharmed.id), served(1))
    t.match(await rowOf(stage, unharmed.id), NO_TROUBLE)
    t.match(await lookUp(stage, lost.id), {
      ...LOST,
      body: { status_reason: 'rotation_answer_lost', detail: /the process ended before/ },
    })
    t.equal(simulator.requests.count(ROTATE), 0)
  })
})

t.test('tokens that rotate by themselves', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const connectRotating = async (organization: string, expiresAt: string, scopes = SCOPES) => {
    const made = await connectToken(stage, { organization, scopes, expiresAt })
    await broker.request('PATCH', `/v1/connections/${made.id}`, { body: { auto_rotate: true } })
    return made.id
  }
  const version = async (id: string) => (await rowOf(stage, id)).token_version
  const soon = await connectRotating('soon', '2026-12-02')
  const late = await connectRotating('late', '2027-06-01')
  const short = await connectRotating('short', '2026-11-12')
  const leased = await connectRotating('leased', '2026-12-02')
  const unasked = (
    await connectToken(stage, { organization: 'unasked', scopes: SCOPES, expiresAt: '2026-12-02' })
  ).id
  const rotations = () => simulator.requests.count(ROTATE)

  await broker.jobs.rotateDue()
  t.equal(rotations(), 0, 'none is due: not even one that lives for ten days only')
  clock.advance(4 * 86_400)
  await broker.jobs.rotateDue()
  t.equal(rotations(), 0)
  clock.advance(86_400)
  await broker.jobs.rotateDue()
  t.same([await version(short), rotations()], [2, 1], 'at half its life it is')
  await broker.jobs.rotateDue()
  await broker.jobs.rotateDue()
  t.same([await version(short), rotations()], [2, 1], 'and not again with every run')

  clock.advance(11 * 86_400)
  await lookUp(stage, leased)
  simulator.faults.add({ match: ROTATE, times: 1, effect: { kind: 'maintenance' } })
  await broker.jobs.rotateDue()
  await broker.jobs.rotateDue()
  t.same(
    await Promise.all([soon, late, leased, unasked].map(version)),
    [2, 1, 1, 1],
    'fourteen days before its end',
  )
  // The next run of the hour.
  clock.advance(3_600)
  await broker.jobs.rotateDue()
  t.equal(await version(leased), 2, 'the other when its lease had ended')
  t.equal(await version(unasked), 1)
  t.same(
    simulator.world.events.filter(({ kind }) => kind === 'replay_of_rotated_access_token'),
    [],
  )
})

t.test('the end of a new token is as far away as that of the old one was', async (t) => {
  const now = new Date('2026-11-02T10:30:00Z')
  const ends = (issued: string, expires: string | null) =>
    nextExpiryDate(
      {
        token_issued_at: new Date(`${issued}T08:00:00Z`),
        token_expires_at: expires === null ? null : new Date(`${expires}T00:00:00Z`),
      },
      now,
    )
  t.equal(ends('2026-10-03', '2026-11-02'), '2026-12-02')
  t.equal(ends('2025-11-02', '2026-11-02'), '2027-11-01', 'no longer than GitLab allows')
  t.equal(ends('2026-11-01', '2026-11-03'), '2026-11-09', 'a week at least')
  t.equal(ends('2026-11-01', null), '2027-01-31', 'three months when the old one had none')
})
