import t, { type Test } from 'tap'
import { createInstanceClients } from '../../src/instances/instance-clients.ts'
import { createOpenedTokens } from '../../src/leases/opened-tokens.ts'
import { createRejections } from '../../src/leases/reject-lease.ts'
import { createLeasesById } from '../../src/leases/shared-statements.ts'
import { createLogger } from '../../src/log.ts'
import { createAttempts } from '../../src/token-lifecycle/attempts.ts'
import { createStoredTokenVerifier } from '../../src/token-lifecycle/verify-stored-token.ts'
import { openKeyRing } from '../../src/vault/key-ring.ts'
import { createVault } from '../../src/vault/vault.ts'
import { createForecast } from '../../src/weather/forecast.ts'
import { type Answer, MASTER_KEY, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { connect, createReplica, lookUp, NO_TROUBLE, REFRESH, rowOf } from '../support/lifecycle.ts'
import { principalLike } from '../support/principal.ts'

const INFO = { path: '/oauth/token/info' }
const SELF = { path: '/api/v4/personal_access_tokens/self' }
const served = (version: number) => ({ status: 200, body: { token_version: version } })
const attempts = createAttempts(createLogger('silent'))

t.test('a report that GitLab refused a token', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  t.beforeEach(() => {
    simulator.faults.clear()
    simulator.requests.clear()
  })
  const reject = ({ body }: Answer, key?: string) =>
    broker.post(`/v1/leases/${body.lease_id}/rejection`, undefined, key === undefined ? {} : { key })
  const leaseOf = ({ body }: Answer) =>
    broker.db.selectFrom('leases').selectAll().where('id', '=', body.lease_id).executeTakeFirstOrThrow()
  const pasted = async (name: string) => {
    const made = await connectToken(stage, { organization: `pasted-${name}` })
    return { ...made, answer: await lookUp(stage, made.id) }
  }
  /** GitLab counts a token as expired of which we believe that it lives on. */
  const aheadAtGitLab = (t: Test, seconds: number) => {
    simulator.clock.advance(seconds)
    t.teardown(() => simulator.clock.advance(-seconds))
  }

  t.test('of a token that works is said to be about something else', async (t) => {
    const id = await connect(stage)
    const answer = await lookUp(stage, id)
    t.match(await reject(answer), {
      status: 409,
      body: { code: 'token_works', connection_id: id, scopes: ['read_user', 'read_api', 'read_repository'] },
    })
    t.match(await leaseOf(answer), { rejected_at: null, released_at: null }, 'the lease stays')
    t.match(await lookUp(stage, id), served(1))
  })

  t.test(
    'of a version that was replaced is answered by the newer one, and GitLab is not asked',
    async (t) => {
      const id = await connect(stage)
      const old = await lookUp(stage, id)
      clock.advance(4_000)
      t.match(await lookUp(stage, id), served(2))
      simulator.requests.clear()
      const answer = await reject(old)
      t.match(answer, served(2))
      t.equal(answer.headers.get('cache-control'), 'no-store')
      t.not(answer.body.lease_id, old.body.lease_id)
      t.equal(simulator.requests.count(), 0)
      t.match(await leaseOf(old), { rejected_at: new Date(clock()) })
    },
  )

  t.test('of a dead OAuth token has it refreshed, whoever else holds a lease on it', async (t) => {
    const id = await connect(stage)
    const reporter = await lookUp(stage, id)
    await lookUp(stage, id, { min_ttl: 7_000 })
    aheadAtGitLab(t, 7_300)
    const answer = await reject(reporter)
    t.match(answer, served(2))
    t.equal(simulator.world.tokenState(answer.body.token), 'active')
    t.match(await leaseOf(reporter), { rejected_at: new Date(clock()), released_at: new Date(clock()) })
    t.match(await rowOf(stage, id), NO_TROUBLE)
  })

  t.test('by twenty scanners at once is one question and one refresh', async (t) => {
    const id = await connect(stage)
    const answers = await Promise.all(Array.from({ length: 20 }, () => lookUp(stage, id)))
    aheadAtGitLab(t, 7_300)
    simulator.requests.clear()
    const newer = await Promise.all(answers.map((answer) => reject(answer)))
    for (const answer of newer) t.match(answer, served(2))
    t.equal(new Set(newer.map(({ body }) => body.token)).size, 1)
    t.equal(simulator.requests.count(SELF), 1)
    t.equal(simulator.requests.count(REFRESH), 1)
  })

  t.test('of a grant that was revoked at GitLab ends, after its grace, with a person', async (t) => {
    const id = await connect(stage)
    const answer = await lookUp(stage, id)
    simulator.world.revokeToken(answer.body.token)
    t.match(await reject(answer), { status: 503, body: { code: 'gitlab_unavailable' } })
    t.match(await lookUp(stage, id), { status: 503 }, 'the dead token is not handed out again')
    clock.advance(301)
    t.match(await lookUp(stage, id), {
      status: 409,
      body: { code: 'needs_reauthorization', status_reason: 'refresh_token_refused' },
    })
    t.match(await reject(answer), { status: 409, body: { code: 'needs_reauthorization' } })
  })

  t.test('of a dead token while GitLab gives no new one: the dead one is not handed out again', async (t) => {
    const id = await connect(stage)
    const answer = await lookUp(stage, id)
    aheadAtGitLab(t, 7_300)
    simulator.faults.add({ match: REFRESH, times: 2, effect: { kind: 'status', status: 503 } })
    t.match(await reject(answer), { status: 503, body: { code: 'gitlab_unavailable' } })
    t.match(await lookUp(stage, id), { status: 503, body: { code: 'gitlab_unavailable' } })
    clock.advance(5)
    t.match(await lookUp(stage, id), { status: 503, body: { code: 'gitlab_unavailable' } })
    clock.advance(60)
    await broker.jobs.mendConnections()
    t.match(await lookUp(stage, id), served(2))
    t.match(await rowOf(stage, id), NO_TROUBLE)
  })

  t.test('while GitLab is away changes nothing', async (t) => {
    const id = await connect(stage)
    const answer = await lookUp(stage, id)
    const before = await rowOf(stage, id)
    clock.advance(10)
    simulator.faults.add({ match: { path: '/oauth/token/info' }, effect: { kind: 'status', status: 502 } })
    t.match(await reject(answer), { status: 503, body: { code: 'gitlab_unavailable' } })
    t.same(await rowOf(stage, id), before, 'least of all when GitLab last confirmed the token')
    t.match(await lookUp(stage, id), served(1))
  })

  t.test('of a revoked access token marks the connection, with the reason', async (t) => {
    const { answer, token, id } = await pasted('revoked')
    simulator.world.revokeToken(token)
    t.match(await reject(answer), {
      status: 409,
      body: { code: 'connection_revoked', status_reason: 'token_revoked' },
    })
    t.match((await broker.get(`/v1/connections/${id}`)).body, {
      status: 'revoked',
      status_reason: 'token_revoked',
      status_detail: /revoked at GitLab/,
    })
    t.match(await lookUp(stage, id), { status: 409, body: { code: 'connection_revoked' } })
  })

  t.test('of an expired one too: somebody shortened its life at GitLab', async (t) => {
    const { answer, token, id } = await pasted('expired')
    simulator.world.accessTokens.find(token)!.expiresAt = '2026-11-01'
    t.match(await reject(answer), {
      status: 409,
      body: { code: 'connection_expired', status_reason: 'token_expired' },
    })
    t.match((await broker.get(`/v1/connections/${id}`)).body, {
      status: 'expired',
      status_reason: 'token_expired',
    })
  })

  t.test('of one whose owner is blocked too, which a person can undo', async (t) => {
    const { answer, id } = await pasted('blocked')
    simulator.world.blockUser('maria')
    t.teardown(() => simulator.world.unblockUser('maria'))
    t.match(await reject(answer), {
      status: 409,
      body: { code: 'needs_reauthorization', status_reason: 'user_blocked' },
    })
    simulator.world.unblockUser('maria')
    t.match((await broker.post(`/v1/connections/${id}/verify`)).body, {
      works: true,
      connection: { status: 'active' },
    })
    t.match(await lookUp(stage, id), served(1))
  })

  t.test('is for whoever holds the lease, and managers of its organization', async (t) => {
    const id = await connect(stage)
    const { organization } = await rowOf(stage, id)
    const key = (role: 'scanner' | 'manager', where: string) => broker.createKey(role, [where])
    const mine = await key('scanner', organization)
    const answer = await lookUp(stage, id, {}, mine)
    const asked = simulator.requests.count(INFO)
    for (const other of [await key('scanner', organization), await key('manager', 'elsewhere')]) {
      t.match(await reject(answer, other), {
        status: 404,
        body: { code: 'not_found', detail: 'There is no such lease.' },
      })
    }
    t.equal(simulator.requests.count(INFO), asked, 'no stranger makes us ask')
    const unknown = { ...answer, body: { lease_id: '01900000-0000-7000-8000-00000000dead' } }
    t.match(await reject(unknown), { status: 404 })
    t.match(await reject(answer, mine), { status: 409, body: { code: 'token_works' } })
    t.match(await reject(answer, await key('manager', organization)), {
      status: 409,
      body: { code: 'token_works' },
    })
  })

  t.test('that was overtaken by a refresh is not told about the newer token', async (t) => {
    const id = await connect(stage)
    const { body } = await lookUp(stage, id)
    const { db, runPrepared } = broker.database
    const vault = createVault(await openKeyRing(db, [MASTER_KEY], clock))
    const instanceClients = createInstanceClients({ clock })
    t.teardown(() => instanceClients.close())
    const refresher = await createReplica(t, stage)
    const { access_key_id } = await leaseOf({ body } as Answer)
    const { reject: rejectLease } = createRejections({
      learnRefusal: async () => undefined,
      db,
      clock,
      leasesById: createLeasesById({ runPrepared, clock }),
      openedTokens: createOpenedTokens(vault),
      refresher,
      verifier: {
        async verify(connectionId) {
          const request = { knownVersion: 1, onConflict: 'preempt', reason: 'asked_by_manager' } as const
          await refresher.refresh(connectionId, request)
          return createStoredTokenVerifier({
            db,
            vault,
            clock,
            instanceClients,
            attempts,
            forecast: createForecast({ db, clock, logger: createLogger('silent') }),
          }).verify(connectionId)
        },
      },
    })
    const credential = await rejectLease(body.lease_id, principalLike({ id: access_key_id }))
    t.equal(credential.row.token_version, 2)
  })

  t.test('of a newer token is a question of its own while the one before is being settled', async (t) => {
    const id = await connect(stage)
    const first = await lookUp(stage, id)
    const { db, runPrepared } = broker.database
    const vault = createVault(await openKeyRing(db, [MASTER_KEY], clock))
    const instanceClients = createInstanceClients({ clock })
    t.teardown(() => instanceClients.close())
    const replica = await createReplica(t, stage)
    const saved = Promise.withResolvers<void>()
    const told = Promise.withResolvers<void>()
    const { reject: rejectLease } = createRejections({
      learnRefusal: async () => undefined,
      db,
      clock,
      leasesById: createLeasesById({ runPrepared, clock }),
      openedTokens: createOpenedTokens(vault),
      verifier: createStoredTokenVerifier({
        db,
        vault,
        clock,
        instanceClients,
        attempts,
        forecast: createForecast({ db, clock, logger: createLogger('silent') }),
      }),
      refresher: {
        ...replica,
        async refresh(connectionId, request) {
          const outcome = await replica.refresh(connectionId, request)
          saved.resolve()
          if (request.knownVersion === 1) await told.promise
          return outcome
        },
      },
    })
    const { access_key_id } = await leaseOf(first)
    const key = principalLike({ id: access_key_id })
    aheadAtGitLab(t, 7_300)
    const before = rejectLease(first.body.lease_id, key)
    await saved.promise
    const second = await lookUp(stage, id)
    t.match(second, served(2))
    aheadAtGitLab(t, 7_300)
    const answer = await rejectLease(second.body.lease_id, key)
    t.equal(answer.row.token_version, 3)
    t.equal(simulator.world.tokenState(answer.token), 'active')
    told.resolve()
    t.equal((await before).row.token_version, 3)
  })
})
