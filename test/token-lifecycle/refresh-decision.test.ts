import fc from 'fast-check'
import t from 'tap'
import { DOUBT_SECONDS, decideSettlement, detectsReuse } from '../../src/token-lifecycle/doubt.ts'
import {
  afterFailure,
  backoffSeconds,
  decideRefresh,
  type FailureCode,
  type OnConflict,
  type RefreshFailure,
  type RefreshState,
} from '../../src/token-lifecycle/refresh-decision.ts'
import { REFUSAL_GRACE_SECONDS } from '../../src/weather/refusal-budget.ts'

const NOW = new Date('2026-11-02T10:30:00Z')
const at = (seconds: number): Date => new Date(NOW.getTime() + seconds * 1000)

const IDLE: RefreshState = {
  status: 'active',
  token_version: 3,
  attempt_id: null,
  attempt_deadline: null,
  attempt_sent_at: null,
  unanswered_since: null,
  retry_after: null,
  refreshable: true,
  leasedUntil: null,
}
const CLAIMED = { attempt_id: 'attempt', attempt_deadline: at(20) }
const ABANDONED = { attempt_id: 'attempt', attempt_deadline: at(-1) }

t.test('decideRefresh', async (t) => {
  const cases: [
    name: string,
    state: Partial<RefreshState>,
    expected: object,
    wish?: Partial<{ knownVersion: number; onConflict: OnConflict }>,
  ][] = [
    ['claims what nobody holds', {}, { action: 'claim', reason: 'due' }],
    ['is content with a newer version', { token_version: 4 }, { action: 'stop', reason: 'newer_version' }],
    [
      'also when somebody is at the next one',
      { token_version: 4, ...CLAIMED },
      { action: 'stop', reason: 'newer_version' },
    ],
    [
      'leaves alone what is over',
      { status: 'needs_reauthorization' },
      { action: 'stop', reason: 'inactive' },
    ],
    [
      'leaves alone what was revoked',
      { status: 'revoked', token_version: 4 },
      { action: 'stop', reason: 'inactive' },
    ],
    ['has nothing to refresh with', { refreshable: false }, { action: 'stop', reason: 'not_refreshable' }],
    [
      'waits for the writer that is at it',
      CLAIMED,
      { action: 'wait', reason: 'claimed_elsewhere', until: at(20) },
    ],
    [
      'waits for it even to preempt',
      CLAIMED,
      { action: 'wait', reason: 'claimed_elsewhere', until: at(20) },
      { onConflict: 'preempt' },
    ],
    ['takes over from a writer that died', ABANDONED, { action: 'claim', reason: 'abandoned_attempt' }],
    [
      'takes over at the deadline itself',
      { ...ABANDONED, attempt_deadline: NOW },
      { action: 'claim', reason: 'abandoned_attempt' },
    ],
    ['backs off', { retry_after: at(7) }, { action: 'stop', reason: 'backing_off', until: at(7) }],
    [
      'backs off even to preempt',
      { retry_after: at(7) },
      { action: 'stop', reason: 'backing_off', until: at(7) },
      { onConflict: 'preempt' },
    ],
    ['tries again when it is time', { retry_after: NOW }, { action: 'claim', reason: 'due' }],
    ['respects leases', { leasedUntil: at(90) }, { action: 'stop', reason: 'in_use', until: at(90) }],
    [
      'preempts them when told to',
      { leasedUntil: at(90) },
      { action: 'claim', reason: 'due' },
      { onConflict: 'preempt' },
    ],
    ['does not mind a lease that is over', { leasedUntil: NOW }, { action: 'claim', reason: 'due' }],
    [
      'protects no token that may be dead',
      { leasedUntil: at(90), unanswered_since: at(-9) },
      { action: 'claim', reason: 'due' },
    ],
    [
      'nor one whose refresh a dead process sent',
      { leasedUntil: at(90), ...ABANDONED, attempt_sent_at: at(-30) },
      { action: 'claim', reason: 'abandoned_attempt' },
    ],
    [
      'protects one whose refresh was never sent',
      { leasedUntil: at(90), ...ABANDONED },
      { action: 'stop', reason: 'in_use', until: at(90) },
    ],
  ]
  for (const [name, state, expected, wish] of cases) {
    t.same(
      decideRefresh({ ...IDLE, ...state }, { knownVersion: 3, onConflict: 'respect', ...wish }, NOW),
      expected,
      name,
    )
  }
})

const someTime = fc.option(fc.integer({ min: -600, max: 600 }).map(at), { nil: null })
const someState: fc.Arbitrary<RefreshState> = fc.record({
  status: fc.constantFrom('active', 'active', 'active', 'needs_reauthorization', 'revoked', 'expired'),
  token_version: fc.integer({ min: 1, max: 4 }),
  attempt_id: fc.option(fc.constant('attempt'), { nil: null }),
  attempt_deadline: someTime,
  attempt_sent_at: someTime,
  unanswered_since: someTime,
  retry_after: someTime,
  refreshable: fc.boolean(),
  leasedUntil: someTime,
})
const someWish = fc.record({
  knownVersion: fc.integer({ min: 1, max: 4 }),
  onConflict: fc.constantFrom<OnConflict>('respect', 'preempt'),
})

t.test('whatever the state, decideRefresh', async (t) => {
  const holds = (
    name: string,
    property: (state: RefreshState, wish: { knownVersion: number; onConflict: OnConflict }) => boolean,
  ) => t.test(name, async () => fc.assert(fc.property(someState, someWish, property), { numRuns: 2_000 }))
  const decide = (state: RefreshState, wish: { knownVersion: number; onConflict: OnConflict }) =>
    decideRefresh(state, wish, NOW)

  holds('never claims while a live claim exists', (state, wish) => {
    const live = state.attempt_id !== null && state.attempt_deadline !== null && state.attempt_deadline > NOW
    return !(live && decide(state, wish).action === 'claim')
  })
  holds(
    'claims only what is active, refreshable and still of the version that is to be replaced',
    (state, wish) =>
      decide(state, wish).action !== 'claim' ||
      (state.status === 'active' && state.refreshable && state.token_version <= wish.knownVersion),
  )
  holds(
    'never claims before it is time to try again',
    (state, wish) =>
      decide(state, wish).action !== 'claim' || state.retry_after === null || state.retry_after <= NOW,
  )
  holds('claims a leased token only to preempt, or in doubt', (state, wish) => {
    const leased = state.leasedUntil !== null && state.leasedUntil > NOW
    const doubtful = state.unanswered_since !== null || state.attempt_sent_at !== null
    return !(leased && !doubtful && wish.onConflict === 'respect' && decide(state, wish).action === 'claim')
  })
  holds('names a time in the future whenever it names one', (state, wish) => {
    const decision = decide(state, wish)
    return !('until' in decision) || decision.until > NOW
  })
})

t.test('the back-off doubles from 5 s to a minute', async (t) => {
  t.same(
    [0, 1, 2, 3, 4, 5, 50, 5_000].map((count) => backoffSeconds(count)),
    [5, 10, 20, 40, 60, 60, 60, 60],
  )
  t.equal(backoffSeconds(0, 30), 30)
  t.equal(backoffSeconds(0, 1), 1, 'as soon as GitLab says')
  t.equal(backoffSeconds(4, 30), 30)
  t.equal(backoffSeconds(0, 0), 1, 'but never at once')
  t.strictSame(
    [5, 6, 8, 50].map((count) => backoffSeconds(count, 1)),
    [1, 2, 8, 60],
    'unless that was too soon before',
  )
  t.equal(backoffSeconds(0, 999_999), 3_600, 'no longer than an hour, whatever GitLab says')
})

type History = Parameters<typeof afterFailure>[0]
const HEALTHY: History = {
  unanswered_since: null,
  refused_since: null,
  failing_since: null,
  failure_count: 0,
  failure_code: null,
  failure_detail: null,
}
const REFUSED: RefreshFailure = { code: 'refresh_token_refused', detail: 'refused', mayHaveActed: false }
const DOWN: RefreshFailure = { code: 'gitlab_unavailable', detail: 'down', mayHaveActed: false }
const LOST: RefreshFailure = { code: 'refresh_answer_lost', detail: 'lost', mayHaveActed: true }
const BAD_APP: RefreshFailure = { code: 'oauth_app_rejected', detail: 'bad app', mayHaveActed: false }

/** What GitLab said of the token after a refresh that was sent four seconds before. */
const told = (tokenAlive: boolean | undefined, now = NOW) => ({
  tokenAlive,
  sentAt: new Date(now.getTime() - 4_000),
  wentBack: false,
  now,
})

t.test('afterFailure', async (t) => {
  t.same(
    afterFailure(HEALTHY, DOWN, told(undefined)),
    {
      status: 'active',
      unanswered_since: null,
      refused_since: null,
      failing_since: NOW,
      failure_count: 1,
      failure_code: 'gitlab_unavailable',
      failure_detail: 'down',
      retry_after: at(5),
    },
    'of an outage leaves the token out of doubt',
  )

  const doubts: [name: string, failure: RefreshFailure, alive: boolean | undefined, since: Date | null][] = [
    ['no answer: from when the refresh was sent', LOST, undefined, at(-4)],
    ['no answer, whatever GitLab says of the token: it may still act', LOST, true, at(-4)],
    ['refused, and GitLab does not say whether the token lives', REFUSED, undefined, NOW],
    ['refused, and the token still works', REFUSED, true, null],
    ['refused, and the token is dead', REFUSED, false, NOW],
    ['the app is rejected', BAD_APP, undefined, null],
  ]
  for (const [name, failure, alive, since] of doubts)
    t.same(afterFailure(HEALTHY, failure, told(alive)).unanswered_since, since, name)

  const doubtedFor = (seconds: number) => ({
    ...HEALTHY,
    unanswered_since: at(-seconds),
    failing_since: at(-60),
    failure_count: 2,
  })
  const since = doubtedFor(60)
  t.same(afterFailure(since, DOWN, told(undefined)).unanswered_since, at(-60), 'an outage clears no doubt')
  t.same(afterFailure(since, LOST, told(false)).unanswered_since, at(-4), 'the latest request counts')
  t.same(afterFailure(since, REFUSED, told(true)).unanswered_since, null, 'a token that works clears it')
  t.same(
    afterFailure(doubtedFor(59), REFUSED, told(true)).unanswered_since,
    at(-59),
    'not while GitLab may still act on the request before',
  )
  t.same(afterFailure(since, DOWN, told(undefined)).failing_since, at(-60))

  const grace = REFUSAL_GRACE_SECONDS
  const refusedFor = (seconds: number) => ({
    ...HEALTHY,
    refused_since: at(-seconds),
    failure_code: 'refresh_token_refused',
  })
  t.equal(afterFailure(HEALTHY, REFUSED, told(false)).status, 'active', 'the first refusal is not death')
  t.equal(
    afterFailure(refusedFor(grace - 1), REFUSED, told(false)).status,
    'active',
    'nor one within the grace',
  )
  t.equal(
    afterFailure(refusedFor(grace), REFUSED, told(false)).status,
    'needs_reauthorization',
    'after it, it is',
  )
  t.equal(afterFailure(refusedFor(grace * 9), DOWN, told(undefined)).status, 'active', 'an outage never is')
  t.equal(
    afterFailure(refusedFor(grace * 9), BAD_APP, told(undefined)).status,
    'active',
    'nor the fault of the app',
  )

  const codes = (...failures: [RefreshFailure, boolean | undefined][]): string | null =>
    failures.reduce<History>(
      (history, [failure, alive]) => afterFailure(history, failure, told(alive)),
      HEALTHY,
    ).failure_code
  t.match(afterFailure(refusedFor(grace), REFUSED, { ...told(false), wentBack: true }), {
    status: 'needs_reauthorization',
    failure_code: 'refresh_token_refused',
  })
  t.match(
    afterFailure(HEALTHY, REFUSED, { ...told(false), wentBack: true }),
    { failure_code: 'database_went_back', failure_detail: /went back to a state before/ },
    'the true cause of a refusal after the database went back',
  )

  t.equal(codes([DOWN, undefined], [REFUSED, false]), 'refresh_token_refused', 'an outage tells nothing')
  t.equal(codes([BAD_APP, undefined], [REFUSED, false]), 'refresh_token_refused', 'nor does a rejected app')
  t.equal(
    codes([LOST, undefined], [REFUSED, false], [DOWN, undefined]),
    'refresh_answer_lost',
    'the first cause stays',
  )
  t.equal(codes([REFUSED, false], [LOST, undefined]), 'refresh_token_refused')
  t.equal(codes([LOST, true], [REFUSED, false]), 'refresh_answer_lost', 'GitLab acted after it was asked')
})

const someFailure: fc.Arbitrary<RefreshFailure> = fc.record({
  code: fc.constantFrom<FailureCode>(
    'gitlab_unavailable',
    'oauth_app_rejected',
    'refresh_answer_lost',
    'refresh_token_refused',
  ),
  detail: fc.string(),
  mayHaveActed: fc.boolean(),
  retryAfterSeconds: fc.option(fc.integer({ min: 0, max: 3_600 }), { nil: undefined }),
})
const someAnswer = fc.constantFrom(true, false, undefined)
const someFailures = fc.array(fc.tuple(someFailure, someAnswer, fc.integer({ min: 0, max: 400 })), {
  minLength: 1,
  maxLength: 30,
})

t.test('over any series of failures, afterFailure', async (t) => {
  type Step = {
    before: History
    after: ReturnType<typeof afterFailure>
    failure: RefreshFailure
    alive: boolean | undefined
    now: Date
  }
  const holds = (name: string, property: (steps: Step[]) => boolean) =>
    t.test(name, async () =>
      fc.assert(
        fc.property(someFailures, (failures) => {
          let before: History = HEALTHY
          let seconds = 0
          const steps = failures.map(([failure, alive, pause]) => {
            seconds += pause
            const now = at(seconds)
            const step = {
              before,
              after: afterFailure(before, failure, told(alive, now)),
              failure,
              alive,
              now,
            }
            before = step.after
            return step
          })
          return property(steps)
        }),
        { numRuns: 1_000 },
      ),
    )

  holds('never ends a connection before the grace period of refusals is over', (steps) => {
    const firstRefusal = steps.find(({ failure }) => failure.code === 'refresh_token_refused')?.now
    return steps.every(
      ({ after, failure, now }) =>
        after.status === 'active' ||
        (failure.code === 'refresh_token_refused' &&
          firstRefusal !== undefined &&
          now.getTime() - firstRefusal.getTime() >= REFUSAL_GRACE_SECONDS * 1000),
    )
  })
  holds('never tries again earlier than GitLab said, nor later than in an hour', (steps) =>
    steps.every(({ after, failure, now }) => {
      const wait = (after.retry_after.getTime() - now.getTime()) / 1000
      return wait >= (failure.retryAfterSeconds ?? 5) && wait >= 1 && wait <= 3_600
    }),
  )
  holds('never overwrites a first cause that tells something', (steps) => {
    const telling = ['refresh_answer_lost', 'refresh_token_refused', 'rotation_answer_lost']
    return steps.every(
      ({ before, after }) =>
        !telling.includes(before.failure_code ?? '') ||
        (after.failure_code === before.failure_code && after.failure_detail === before.failure_detail),
    )
  })
  holds('clears the doubt only when GitLab says late enough that the token works', (steps) =>
    steps.every(
      ({ before, after, failure, alive, now }) =>
        before.unanswered_since === null ||
        after.unanswered_since !== null ||
        (alive === true &&
          failure.code === 'refresh_token_refused' &&
          now.getTime() - before.unanswered_since.getTime() >= DOUBT_SECONDS * 1000),
    ),
  )
  holds('leaves a token in doubt whenever GitLab may have acted', (steps) =>
    steps.every(
      ({ after, failure, now }) =>
        !failure.mayHaveActed || after.unanswered_since?.getTime() === told(undefined, now).sentAt.getTime(),
    ),
  )
  holds('counts every failure, anew from a refusal after outages, and keeps when the first was', (steps) =>
    steps.every(({ before, after, failure }) => {
      const saysNothing = [null, 'gitlab_unavailable', 'oauth_app_rejected'].includes(before.failure_code)
      const isAnew =
        failure.code === 'refresh_token_refused' &&
        before.refused_since === null &&
        before.unanswered_since === null &&
        saysNothing
      const isCounted = after.failure_count === (isAnew ? 1 : before.failure_count + 1)
      return isCounted && after.failing_since?.getTime() === steps[0]?.now.getTime()
    }),
  )
})

t.test('decideSettlement, before a refresh is sent', async (t) => {
  const inDoubt = (seconds: number, failure_count: number, reuse = false) => ({
    unanswered_since: at(-seconds),
    failure_count,
    detectsReuse: reuse,
  })
  const certain = (reuse: boolean) => ({ unanswered_since: null, failure_count: 0, detectsReuse: reuse })
  const until = (seconds: number) => ({ action: 'wait', until: at(seconds) })
  const cases: [name: string, state: Parameters<typeof decideSettlement>[0], expected: object][] = [
    ['no doubt', { unanswered_since: null, failure_count: 9, detectsReuse: true }, { action: 'send' }],
    ['the first retry settles a doubt at once', inDoubt(5, 1), { action: 'send' }],
    ['also after a writer died', inDoubt(30, 0), { action: 'send' }],
    ['the second waits until GitLab can no longer act', inDoubt(5, 2), until(55)],
    ['and asks then', inDoubt(60, 2), { action: 'ask' }],
    [
      'where reuse is taken for theft, a killed replica has time to come back',
      inDoubt(5, 0, true),
      until(175),
    ],
    ['then GitLab is asked', inDoubt(180, 0, true), { action: 'ask' }],
    ['after the database went back too', { ...certain(true), wentBackAt: at(-5) }, until(175)],
    ['which ends', { ...certain(true), wentBackAt: at(-180) }, { action: 'send' }],
    [
      'Doorkeeper only refuses what has a successor',
      { ...certain(false), wentBackAt: at(-5) },
      { action: 'send' },
    ],
  ]
  for (const [name, state, expected] of cases) t.same(decideSettlement(state, NOW), expected, name)
  t.ok(detectsReuse('gliamrt-FAKE-0123456789'))
  t.notOk(detectsReuse('FAKE-0123456789'))
})
