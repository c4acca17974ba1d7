import t, { type Test } from 'tap'
import { SEEDED_APP } from '../../simulator/seed.ts'
import { DOUBT_SECONDS } from '../../src/token-lifecycle/doubt.ts'
import { LONGEST_EARLY_PAUSE_SECONDS } from '../../src/token-lifecycle/refresh-decision.ts'
import { type Answer, setStage, startTestBroker } from '../support/broker.ts'
import {
  connect,
  createReplica,
  HALF_LIFE,
  lookUp,
  NO_TROUBLE,
  OUT,
  REFRESH,
  rowOf,
  untilItWaits,
} from '../support/lifecycle.ts'

const UNAVAILABLE = { status: 503, body: { code: 'gitlab_unavailable' } }
const APP_REJECTED = { status: 503, body: { code: 'oauth_app_rejected' } }
const served = (version: number) => ({ status: 200, body: { token_version: version } })
const retryAfter = ({ headers }: Answer) => Number(headers.get('retry-after'))

t.test('an answer to a refresh that is none', async (t) => {
  const stage = await setStage(t, { broker: { gitlab: { timeoutMs: 400, issuingTimeoutMs: 400 } } })
  const { broker, simulator, clock } = stage
  t.beforeEach(() => simulator.faults.clear())
  const strike = (effect: Parameters<typeof simulator.faults.add>[0]['effect'], times = 1) =>
    simulator.faults.add({ match: REFRESH, times, effect })
  const alive = (answer: Answer) => simulator.world.tokenState(answer.body.token) === 'active'
  const heals = async (t: Test, id: string, version = 2) => {
    clock.advance(61 + LONGEST_EARLY_PAUSE_SECONDS)
    const answer = await lookUp(stage, id)
    t.match(answer, served(version))
    t.ok(alive(answer))
    t.match(await rowOf(stage, id), { status: 'active', ...NO_TROUBLE })
  }

  t.test('cut before GitLab acted: the retry brings a new token', async (t) => {
    const id = await connect(stage)
    clock.advance(OUT)
    strike({ kind: 'cut-before' })
    const cut = await lookUp(stage, id)
    t.match(cut, UNAVAILABLE)
    t.equal(retryAfter(cut), 5)
    t.match(await rowOf(stage, id), {
      status: 'active',
      failure_code: 'refresh_answer_lost',
      attempt_id: null,
    })
    clock.advance(5)
    t.match(await lookUp(stage, id), served(2))
    t.match(await rowOf(stage, id), NO_TROUBLE)
  })

  t.test(
    'cut before GitLab acted while the token lives: it may still act, so nobody gets the token',
    async (t) => {
      const id = await connect(stage)
      clock.advance(HALF_LIFE)
      strike({ kind: 'cut-before' })
      t.match(await lookUp(stage, id), UNAVAILABLE)
      t.match(await rowOf(stage, id), {
        unanswered_since: new Date(clock()),
        failure_code: 'refresh_answer_lost',
      })
      clock.advance(5)
      t.match(await lookUp(stage, id), served(2), 'the same refresh, sent again, settles it')
      t.match(await rowOf(stage, id), NO_TROUBLE)
    },
  )

  t.test(
    'cut again and again while the token lives: it is asked about when GitLab can no longer act',
    async (t) => {
      const id = await connect(stage)
      clock.advance(HALF_LIFE)
      strike({ kind: 'cut-before' }, 3)
      t.match(await lookUp(stage, id), UNAVAILABLE)
      clock.advance(5)
      t.match(await lookUp(stage, id), UNAVAILABLE)
      const again = simulator.requests.count(REFRESH)
      clock.advance(10)
      const waiting = await lookUp(stage, id)
      t.match(waiting, UNAVAILABLE)
      t.equal(retryAfter(waiting), DOUBT_SECONDS - 10, 'a minute after the latest request')
      clock.advance(DOUBT_SECONDS - 11)
      t.match(await lookUp(stage, id), UNAVAILABLE)
      t.equal(simulator.requests.count(REFRESH), again, 'and no further one prolongs the doubt')
      clock.advance(1)
      const answer = await lookUp(stage, id)
      t.match(answer, served(1))
      t.ok(alive(answer))
      t.match(await rowOf(stage, id), { unanswered_since: null, failure_code: 'gitlab_unavailable' })
      await broker.request('DELETE', `/v1/leases/${answer.body.lease_id}`)
      clock.advance(120)
      const later = await lookUp(stage, id)
      t.match(later, served(1), 'an early refresh is not tried again for a while')
      await broker.request('DELETE', `/v1/leases/${later.body.lease_id}`)
      t.equal(simulator.requests.count(REFRESH), again)
      simulator.faults.clear()
      await heals(t, id)
    },
  )

  t.test('cut after GitLab acted: nothing dead is handed out, and the first cause is kept', async (t) => {
    const id = await connect(stage)
    clock.advance(HALF_LIFE)
    strike({ kind: 'cut-after' })
    t.match(await lookUp(stage, id), UNAVAILABLE, 'the token at hand is dead, and GitLab says so')
    clock.advance(5)
    t.match(await lookUp(stage, id), UNAVAILABLE, 'the retry is refused: the pair went with the answer')
    t.match(
      (await broker.get(`/v1/connections/${id}`)).body,
      { status: 'active' },
      'which is not yet its end',
    )
    clock.advance(280)
    t.match(await lookUp(stage, id), UNAVAILABLE)
    clock.advance(61)
    t.match(await lookUp(stage, id), {
      status: 409,
      body: { code: 'needs_reauthorization', status_reason: 'refresh_answer_lost' },
    })
    const { body } = await broker.get(`/v1/connections/${id}`)
    t.match(body, {
      status: 'needs_reauthorization',
      status_reason: 'refresh_answer_lost',
      status_detail: /no answer.*cut/,
    })
    const leases = await broker.db.selectFrom('leases').select('id').where('connection_id', '=', id).execute()
    t.same(leases, [], 'no lease was given on the dead token')
  })

  t.test('refused for a while, as by a lagging replica: served meanwhile, and no harm is left', async (t) => {
    const id = await connect(stage)
    clock.advance(HALF_LIFE)
    strike({ kind: 'invalid-grant' }, 3)
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const answer = await lookUp(stage, id)
      t.match(answer, served(1))
      t.ok(alive(answer))
      await broker.request('DELETE', `/v1/leases/${answer.body.lease_id}`)
      clock.advance(25)
    }
    t.match(await rowOf(stage, id), { status: 'active', failure_code: 'refresh_token_refused' })
    simulator.faults.clear()
    await heals(t, id)
  })

  t.test('refused for good: a person has to come, and is told the first cause', async (t) => {
    const id = await connect(stage)
    simulator.world.revokeToken((await lookUp(stage, id)).body.token)
    clock.advance(HALF_LIFE)
    t.match(await lookUp(stage, id), UNAVAILABLE, 'the token is dead with it')
    clock.advance(150)
    strike({ kind: 'status', status: 503 })
    t.match(await lookUp(stage, id), UNAVAILABLE)
    t.match(
      await rowOf(stage, id),
      { failure_code: 'refresh_token_refused' },
      'an outage in between hides nothing',
    )
    clock.advance(149)
    t.match(await lookUp(stage, id), UNAVAILABLE, 'one second before the end of the grace')
    t.match(await rowOf(stage, id), { status: 'active' })
    clock.advance(61)
    t.match(await lookUp(stage, id), {
      status: 409,
      body: {
        code: 'needs_reauthorization',
        status_reason: 'refresh_token_refused',
        detail: /revoked, or the token was used elsewhere/,
      },
    })
    simulator.requests.clear()
    t.match(await lookUp(stage, id), { status: 409 })
    await broker.jobs.mendConnections()
    t.equal(simulator.requests.count(), 0, 'GitLab is not asked any more')
  })

  t.test('the OAuth app is rejected: the app is at fault, its connections stay', async (t) => {
    const id = await connect(stage)
    simulator.world.changeAppSecret(SEEDED_APP.clientId, 'gloas-FAKE-another-secret')
    clock.advance(HALF_LIFE)
    const answer = await lookUp(stage, id)
    t.match(answer, served(1))
    t.ok(alive(answer))
    clock.advance(HALF_LIFE)
    t.match(await lookUp(stage, id), APP_REJECTED)
    clock.advance(3_600)
    t.match(await lookUp(stage, id), APP_REJECTED)
    t.match((await broker.get(`/v1/connections/${id}`)).body, { status: 'active', status_reason: null })

    const { body } = await broker.get('/v1/oauth-apps')
    const app = body.items.find(({ slug }: { slug: string }) => slug === 'simulator')
    const patched = await broker.request('PATCH', `/v1/oauth-apps/${app.id}`, {
      body: { client_secret: 'gloas-FAKE-another-secret' },
    })
    t.equal(patched.status, 200, patched.text)
    await heals(t, id)
  })

  t.test('429: the instance is left alone for as long as it says', async (t) => {
    const id = await connect(stage)
    const other = await connect(stage)
    clock.advance(OUT)
    strike({ kind: 'rate-limit', retryAfterSeconds: 120 })
    const limited = await lookUp(stage, id)
    t.match(limited, UNAVAILABLE)
    t.equal(retryAfter(limited), 120)
    simulator.requests.clear()
    const next = await lookUp(stage, other)
    t.match(next, UNAVAILABLE, 'the next connection of the instance')
    t.equal(retryAfter(next), 120, 'is told the same')
    clock.advance(119)
    t.match(await lookUp(stage, id), UNAVAILABLE)
    t.equal(simulator.requests.count(), 0, 'and nothing was sent')
    clock.advance(1)
    t.match(await lookUp(stage, id), served(2))
    t.match(await lookUp(stage, other), served(2))
  })

  for (const [name, effect, mayAct] of [
    ['500', { kind: 'status', status: 500 }, true],
    [
      '502',
      { kind: 'status', status: 502, body: 'Bad gateway', headers: { 'content-type': 'text/plain' } },
      true,
    ],
    ['503 with Retry-After', { kind: 'status', status: 503, headers: { 'retry-after': '30' } }, false],
    // GitLab may still be at work when a proxy, or the broker, gives up.
    ['504', { kind: 'status', status: 504 }, true],
    ['HTML instead of JSON', { kind: 'html' }, true],
    ['JSON without a token', { kind: 'status', status: 200, body: '{}' }, true],
    ['nothing, for longer than we wait', { kind: 'hang' }, true],
  ] as const) {
    t.test(name, async (t) => {
      const id = await connect(stage)
      clock.advance(HALF_LIFE)
      strike(effect)
      const answer = await lookUp(stage, id)
      if (mayAct) t.match(answer, UNAVAILABLE, 'the token may die any moment')
      else {
        t.match(answer, served(1))
        t.ok(alive(answer))
        await broker.request('DELETE', `/v1/leases/${answer.body.lease_id}`)
      }
      clock.advance(HALF_LIFE)
      strike(effect)
      const out = await lookUp(stage, id)
      t.match(out, UNAVAILABLE, 'now it is out')
      t.ok(retryAfter(out) >= (name.includes('Retry-After') ? 30 : 5))
      t.match((await broker.get(`/v1/connections/${id}`)).body, { status: 'active' })
      await heals(t, id)
    })
  }

  t.test('GitLab acts after we gave up: its late deed finds nobody with the old token', async (t) => {
    const id = await connect(stage)
    const { promise, resolve } = Promise.withResolvers<void>()
    clock.advance(HALF_LIFE)
    strike({ kind: 'hold', until: promise })
    t.match(await lookUp(stage, id), UNAVAILABLE)
    resolve()
    clock.advance(5)
    t.match(await lookUp(stage, id), UNAVAILABLE)
    t.match(await rowOf(stage, id), { token_version: 1, failure_code: 'refresh_answer_lost' })
    const leases = await broker.db.selectFrom('leases').select('id').where('connection_id', '=', id).execute()
    t.same(leases, [])
  })
})

t.test('two replicas', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const second = { broker: await startTestBroker(t, { database: broker.database, clock }) }
  const replicas = [stage, second]
  const fifty = (id: string) =>
    Promise.all(Array.from({ length: 50 }, (_, index) => lookUp(replicas[index % 2]!, id)))

  t.test('fifty scanners over both share one refresh', async (t) => {
    const id = await connect(stage)
    clock.advance(OUT)
    simulator.requests.clear()
    const answers = await fifty(id)
    t.same(new Set(answers.map(({ status }) => status)), new Set([200]))
    t.equal(new Set(answers.map(({ body }) => body.token)).size, 1)
    t.equal(simulator.requests.count(REFRESH), 1)
    t.equal(simulator.requests.count(), 1, 'what GitLab just issued is not asked about')
  })

  t.test('one failure is told to all, and is one request', async (t) => {
    const id = await connect(stage)
    clock.advance(OUT)
    simulator.faults.add({ match: REFRESH, effect: { kind: 'status', status: 503 } })
    simulator.requests.clear()
    const answers = await fifty(id)
    t.same(new Set(answers.map(({ status }) => status)), new Set([503]))
    t.equal(simulator.requests.count(REFRESH), 1)
    clock.advance(5)
    t.same(new Set((await fifty(id)).map(({ status }) => status)), new Set([200]))
  })
})

t.test('a writer that died', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  /** The columns as a killed process leaves them. */
  const leaveBehind = (id: string, { sent }: { sent: boolean }) =>
    broker.db
      .updateTable('connections')
      .set({
        attempt_id: '01900000-0000-7000-8000-00000000dead',
        attempt_kind: 'refresh',
        attempt_deadline: new Date(clock() + 30_000),
        attempt_sent_at: sent ? new Date(clock()) : null,
      })
      .where('id', '=', id)
      .execute()

  t.test('before it sent anything: its claim ends, and the refresh is done', async (t) => {
    const id = await connect(stage)
    clock.advance(HALF_LIFE)
    await leaveBehind(id, { sent: false })
    const waiting = lookUp(stage, id)
    await untilItWaits(stage)
    clock.advance(30)
    t.match(await waiting, served(2))
    t.match(await rowOf(stage, id), NO_TROUBLE)
  })

  t.test('before it sent anything: who holds a lease is not disturbed', async (t) => {
    const id = await connect(stage)
    clock.advance(HALF_LIFE)
    const held = await lookUp(stage, id, { min_ttl: 7_200 - HALF_LIFE })
    t.match(held, served(2))
    clock.advance(7_200 - HALF_LIFE - 200)
    await leaveBehind(id, { sent: false })
    clock.advance(30)
    t.match(await lookUp(stage, id), served(2), 'its claim keeps the token from nobody')
    t.equal(simulator.world.tokenState(held.body.token), 'active')
  })

  t.test('after it sent, and GitLab never got it: the retry brings a new token', async (t) => {
    const id = await connect(stage)
    clock.advance(HALF_LIFE)
    await leaveBehind(id, { sent: true })
    clock.advance(30)
    t.match(await lookUp(stage, id), served(2))
    t.match(await rowOf(stage, id), NO_TROUBLE)
  })

  t.test('after GitLab acted: that is the cause that a person is told', async (t) => {
    const id = await connect(stage)
    const { body } = await lookUp(stage, id)
    clock.advance(HALF_LIFE)
    await leaveBehind(id, { sent: true })
    simulator.world.grants.refresh(simulator.world.grants.findByAccessToken(body.token)!, body.scopes)
    clock.advance(30)
    t.match(await lookUp(stage, id), UNAVAILABLE)
    for (let minutes = 0; minutes < 6; minutes += 1) {
      clock.advance(60)
      await broker.jobs.mendConnections()
    }
    t.match((await broker.get(`/v1/connections/${id}`)).body, {
      status: 'needs_reauthorization',
      status_reason: 'refresh_answer_lost',
      status_detail: /A refresh was sent at .*, and the process ended before the answer was saved/,
    })
    const spent = simulator.world.events.filter(({ kind }) => kind === 'replay_of_spent_refresh_token')
    t.ok(spent.length > 1, 'only these recoveries presented a spent refresh token')
  })
})

t.test('who preempts leases is not content with the answer to somebody who respects them', async (t) => {
  const stage = await setStage(t)
  const id = await connect(stage)
  const { refresh } = await createReplica(t, stage)
  t.match(await lookUp(stage, id, { min_ttl: 600 }), served(1))
  const outcomes = await Promise.all([
    refresh(id, { knownVersion: 1, onConflict: 'respect', reason: 'too_short' }),
    refresh(id, { knownVersion: 1, onConflict: 'preempt', reason: 'too_short' }),
  ])
  t.same(
    outcomes,
    [{ kind: 'newer_version' }, { kind: 'newer_version' }],
    'who respects them waits for the claim',
  )
  t.equal(stage.simulator.requests.count(REFRESH), 1)
})

t.test('a client secret that does not open holds nobody up: nothing was sent', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  const id = await connect(stage)
  clock.advance(HALF_LIFE)
  const second = { broker: await startTestBroker(t, { database: broker.database, clock }) }
  const { client_secret } = await broker.db
    .selectFrom('oauth_apps')
    .select('client_secret')
    .executeTakeFirstOrThrow()
  const setSecret = (secret: string) =>
    broker.db.updateTable('oauth_apps').set({ client_secret: secret }).execute()
  await setSecret(`${client_secret.slice(0, -4)}AAAA`)
  t.match(await lookUp(second, id), { status: 500, body: { code: 'internal_error' } })
  t.match(await rowOf(stage, id), NO_TROUBLE)
  await setSecret(client_secret)
  t.match(await lookUp(second, id), served(2))
})
