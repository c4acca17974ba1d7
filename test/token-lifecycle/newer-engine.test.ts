import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { SEEDED_APP } from '../../simulator/seed.ts'
import { createLogger } from '../../src/log.ts'
import { createSpool } from '../../src/token-lifecycle/spool.ts'
import { openKeyRing } from '../../src/vault/key-ring.ts'
import { createVault } from '../../src/vault/vault.ts'
import { MASTER_KEY, type Stage, setStage, startTestBroker } from '../support/broker.ts'
import { connect, HALF_LIFE, lookUp, NO_TROUBLE, OUT, REFRESH, rowOf } from '../support/lifecycle.ts'

// GitLab moves OAuth apps to a newer auth service, which takes the reuse of a refresh token for theft.

const setUp = async (t: Test) => {
  const stage = await setStage(t)
  stage.simulator.world.setEngine(SEEDED_APP.clientId, 'fosite')
  return stage
}

const replays = ({ simulator }: Stage) =>
  simulator.world.events.filter(({ kind }) => kind === 'replay_of_spent_refresh_token').length

t.test('a connection of the newer engine lives as any other', async (t) => {
  const stage = await setUp(t)
  const { broker, simulator, clock } = stage
  const id = await connect(stage)
  const first = await lookUp(stage, id)
  t.match(first, {
    status: 200,
    body: { token: /^gliamat-/, scopes: ['read_user', 'read_api', 'read_repository'] },
  })
  for (let version = 2; version < 6; version += 1) {
    clock.advance(HALF_LIFE)
    const { body } = await lookUp(stage, id)
    t.match(body, { token_version: version, token: /^gliamat-/ })
    t.equal(simulator.world.tokenState(body.token), 'active')
  }
  t.match((await broker.post(`/v1/connections/${id}/verify`)).body, { works: true })
  const { instance_id } = await rowOf(stage, id)
  t.match((await broker.get(`/v1/instances/${instance_id}/conditions`)).body, { engine: 'fosite' })
  const { body: last } = await lookUp(stage, id)
  t.equal((await broker.request('DELETE', `/v1/connections/${id}`)).status, 204)
  t.equal(simulator.world.tokenState(last.token), 'revoked', 'disconnecting revokes it')
  t.equal(replays(stage), 0)
})

t.test('a token of the newer engine costs no refusal, whatever its scopes', async (t) => {
  const stage = await setUp(t)
  const { broker, simulator } = stage
  const base_url = simulator.url
  for (const scopes of [
    ['read_api', 'read_repository'],
    ['read_repository'],
    ['read_user', 'read_repository'],
  ]) {
    const { accessToken: token } = simulator.world.issueOAuthToken({
      username: 'maria',
      clientId: SEEDED_APP.clientId,
      scopes,
    })
    simulator.requests.clear()
    const { body } = await broker.post('/v1/tokens/verify', { base_url, token })
    t.match(body, { token_kind: 'oauth_access_token', user: { id: 1 } }, JSON.stringify(body))
    const refused = simulator.requests.all().filter(({ status = 0 }) => status === 401 || status === 400)
    t.same(refused, [], scopes.join(' '))
  }
})

t.test('an app that moves keeps its connections', async (t) => {
  const stage = await setStage(t)
  const { simulator, clock } = stage
  const id = await connect(stage)
  simulator.world.setEngine(SEEDED_APP.clientId, 'fosite')
  clock.advance(HALF_LIFE)
  t.match(await lookUp(stage, id), { status: 200, body: { token_version: 2 } })
})

t.test('what GitLab did not act on is refreshed once it can no longer act', async (t) => {
  const stage = await setUp(t)
  const { simulator, clock } = stage
  const id = await connect(stage)
  clock.advance(OUT)
  simulator.faults.add({ match: REFRESH, effect: { kind: 'cut-before' } })
  t.match(await lookUp(stage, id), { status: 503 })
  clock.advance(30)
  t.match(await lookUp(stage, id), { status: 503 })
  t.equal(simulator.requests.count(REFRESH), 1, 'nothing is presented again in between')
  clock.advance(200)
  t.match(await lookUp(stage, id), { status: 200, body: { token_version: 2 } })
  t.match(await rowOf(stage, id), NO_TROUBLE)
  t.equal(replays(stage), 0)
})

for (const reuse of ['invalid_grant', 'token_inactive'] as const)
  t.test(`a lost answer is told as what it is, however the service refuses reuse (${reuse})`, async (t) => {
    const stage = await setUp(t)
    const { broker, simulator, clock } = stage
    simulator.world.iam.reuse = reuse
    const id = await connect(stage)
    clock.advance(OUT)
    simulator.faults.add({ match: REFRESH, effect: { kind: 'cut-after' } })
    for (let minute = 0; minute < 30; minute += 1) {
      await lookUp(stage, id)
      clock.advance(60)
      await broker.jobs.mendConnections()
    }
    t.match(await rowOf(stage, id), { status: 'needs_reauthorization', status_reason: 'refresh_answer_lost' })
  })

t.test('a grant that was revoked at GitLab is told, however the service refuses it', async (t) => {
  for (const reuse of ['invalid_grant', 'token_inactive'] as const) {
    const stage = await setUp(t)
    const { broker, simulator, clock } = stage
    simulator.world.iam.reuse = reuse
    const id = await connect(stage)
    const { body } = await lookUp(stage, id)
    simulator.world.revokeToken(body.token)
    clock.advance(OUT)
    for (let minute = 0; minute < 30; minute += 1) {
      await lookUp(stage, id)
      clock.advance(60)
      await broker.jobs.mendConnections()
    }
    t.match(
      await rowOf(stage, id),
      { status: 'needs_reauthorization', status_reason: 'refresh_token_refused' },
      reuse,
    )
  }
})

t.test(
  'a killed replica comes back with the successor before anybody presents the old token again',
  async (t) => {
    const stage = await setUp(t)
    const { broker, simulator, clock } = stage
    const id = await connect(stage)
    const row = await rowOf(stage, id)
    clock.advance(OUT)
    // The replica got the answer, wrote it to its disk, and was killed.
    simulator.faults.add({ match: REFRESH, effect: { kind: 'cut-after' } })
    t.match(await lookUp(stage, id), { status: 503 })
    const issued = [...simulator.world.grants.all()].at(-1)!
    const dataDir = await mkdtemp(join(tmpdir(), 'gtb-newer-engine-'))
    t.teardown(() => rm(dataDir, { recursive: true, force: true }))
    const vault = createVault(await openKeyRing(broker.db, [MASTER_KEY], clock))
    await createSpool(join(dataDir, 'spool'), vault, createLogger('silent')).write({
      connectionId: id,
      grantId: row.grant_id ?? id,
      tokenVersion: 2,
      issuedAt: new Date(clock()),
      expiresAt: new Date(clock() + 7_200_000),
      accessToken: issued.accessToken,
      refreshToken: issued.refreshToken,
      scopes: issued.scopes,
    })
    for (const seconds of [70, 60]) {
      clock.advance(seconds)
      t.match(await lookUp(stage, id), { status: 503 })
      await broker.jobs.mendConnections()
    }
    t.equal(replays(stage), 0)
    await startTestBroker(t, { database: broker.database, clock, config: { dataDir } })
    const answer = await lookUp(stage, id)
    t.match(answer, { status: 200, body: { token_version: 2 } })
    t.equal(simulator.world.tokenState(answer.body.token), 'active')
    clock.advance(OUT)
    t.match(await lookUp(stage, id), { status: 200, body: { token_version: 3 } })
  },
)

t.test('while the service is away a good token is refused, and no connection ends', async (t) => {
  const stage = await setUp(t)
  const { broker, simulator, clock } = stage
  const id = await connect(stage)
  const { body } = await lookUp(stage, id)
  simulator.world.iam.isAway = true
  t.match((await broker.post(`/v1/connections/${id}/verify`)).status, 200)
  for (let minute = 0; minute < 10; minute += 1) {
    clock.advance(60)
    await broker.post(`/v1/leases/${body.lease_id}/reject`)
    await broker.jobs.mendConnections()
  }
  t.match(await rowOf(stage, id), { status: 'active' })
  simulator.world.iam.isAway = false
  clock.advance(600)
  const { body: later } = await lookUp(stage, id)
  t.equal(simulator.world.tokenState(later.token), 'active')
  t.equal(replays(stage), 0)
})
