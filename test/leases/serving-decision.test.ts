import fc from 'fast-check'
import t from 'tap'
import {
  conditionsAfterRefresh,
  conditionsWhileLeased,
  conditionsWhileUnavailable,
  DEFAULT_MIN_TTL_SECONDS,
  decideServing,
  firstConditions,
  judge,
  type LeaseConditions,
  type LeaseOptions,
  OUTAGE_MINIMUM_SECONDS,
  type ServingState,
  SHARED_MINIMUM_SECONDS,
} from '../../src/leases/serving-decision.ts'

const NOW = new Date('2026-11-02T10:30:00Z')
const at = (seconds: number): Date => new Date(NOW.getTime() + seconds * 1000)

const SOFT: LeaseOptions = { minTtl: undefined, onConflict: 'respect' }
const explicit = (minTtl: number): LeaseOptions => ({ minTtl, onConflict: 'respect' })

/** Of a token that lives two hours, with so much of it left. */
const OAUTH = (left: number, changes: Partial<ServingState> = {}): ServingState => ({
  status: 'active',
  token_version: 1,
  token_issued_at: at(left - 7_200),
  token_expires_at: at(left),
  attempt_id: null,
  attempt_deadline: null,
  unanswered_since: null,
  retry_after: null,
  refreshable: true,
  leased: false,
  ...changes,
})
const PASTED = (left: number | null, changes: Partial<ServingState> = {}): ServingState => ({
  ...OAUTH(left ?? 0),
  token_issued_at: at(-86_400),
  token_expires_at: left === null ? null : at(left),
  refreshable: false,
  ...changes,
})
const SHORT_LIVED = (left: number): ServingState => OAUTH(left, { token_issued_at: at(left - 90) })

t.test('decideServing', async (t) => {
  const refuse = (code: string, reason: string) => ({ action: 'refuse', code, reason })
  const refresh = (reason: string) => ({ action: 'refresh', reason })
  const serve = (reason: string, conditions: LeaseConditions) => ({ action: 'serve', reason, conditions })
  const claimed = { attempt_id: 'attempt', attempt_deadline: at(10) }
  const abandoned = { attempt_id: 'attempt', attempt_deadline: at(-10) }
  const doubted = { unanswered_since: at(-10) }
  const first = firstConditions(SOFT)
  const asIs = { ...first, minRemaining: 0, acceptPastHalfLife: true }
  const cases: [name: string, state: ServingState, options: LeaseOptions, expected: object][] = [
    ['a token that was just issued is served', OAUTH(7_200), SOFT, serve('lives_long_enough', first)],
    ['also one before half its life', OAUTH(3_601), SOFT, serve('lives_long_enough', first)],
    ['one from a clock a little ahead is served too', OAUTH(7_202), SOFT, serve('lives_long_enough', first)],
    [
      'the clock went back since it was issued: nobody knows its end',
      OAUTH(7_203),
      SOFT,
      refresh('in_doubt'),
    ],
    ['and an hour back', OAUTH(10_800), explicit(60), refresh('in_doubt')],
    [
      'a pasted token from a GitLab whose clock is ahead lives its whole life at the most',
      PASTED(700, { token_issued_at: at(100) }),
      explicit(650),
      refuse('min_ttl_unattainable', 'too_short'),
    ],
    [
      'and is served as that',
      PASTED(700, { token_issued_at: at(100) }),
      SOFT,
      serve('lives_long_enough', first),
    ],
    ['at half its life a token is refreshed', OAUTH(3_600), SOFT, refresh('past_half_life')],
    ['also long past it', OAUTH(301), SOFT, refresh('past_half_life')],
    [
      'not while others hold leases on it',
      OAUTH(3_000, { leased: true }),
      SOFT,
      serve('leased_by_others', first),
    ],
    [
      'nor soon after a refresh that failed: a sixth of the life that is left, ten minutes at most',
      OAUTH(3_000, { retry_after: at(-499) }),
      SOFT,
      serve('gitlab_backing_off', first),
    ],
    [
      'a pause that is over counts no more',
      OAUTH(3_000, { retry_after: at(-500) }),
      SOFT,
      refresh('past_half_life'),
    ],
    ['one that expires too soon is refreshed', OAUTH(300), SOFT, refresh('too_short')],
    ['also one that others hold', OAUTH(300, { leased: true }), SOFT, refresh('too_short')],
    ['also one in doubt', OAUTH(7_000, doubted), SOFT, refresh('in_doubt')],
    ['also one whose writer died', OAUTH(7_000, abandoned), SOFT, refresh('in_doubt')],
    [
      'also one that another writer is changing: the refresh waits',
      OAUTH(7_000, claimed),
      SOFT,
      refresh('claimed'),
    ],
    ['one that expires too soon for min_ttl is refreshed', OAUTH(500), explicit(600), refresh('too_short')],
    [
      'no refresh brings a token that lives longer than GitLab lets one live',
      OAUTH(100),
      explicit(7_201),
      refuse('min_ttl_unattainable', 'too_short'),
    ],
    ['as long as GitLab lets one live can be had', OAUTH(100), explicit(7_200), refresh('too_short')],
    [
      'a short life is enough without min_ttl, up to its half',
      SHORT_LIVED(46),
      SOFT,
      serve('lives_as_long_as_it_can', { minRemaining: 45, leaseSeconds: 300, acceptPastHalfLife: true }),
    ],
    ['at its half it is refreshed', SHORT_LIVED(45), SOFT, refresh('too_short')],
    ['but not for a min_ttl', SHORT_LIVED(80), explicit(300), refuse('min_ttl_unattainable', 'too_short')],
    ['a short life in doubt is refreshed', { ...SHORT_LIVED(80), ...doubted }, SOFT, refresh('in_doubt')],
    [
      'a pasted token is served until its end without min_ttl',
      PASTED(100),
      SOFT,
      serve('lives_as_long_as_it_can', asIs),
    ],
    [
      'one that lives long enough is served, past its half too',
      PASTED(400),
      SOFT,
      serve('lives_long_enough', first),
    ],
    [
      'a pasted token cannot be made to live longer',
      PASTED(100),
      explicit(101),
      refuse('min_ttl_unattainable', 'too_short'),
    ],
    ['a pasted token that is out is expired', PASTED(0), SOFT, refuse('connection_expired', 'too_short')],
    [
      'one without an end lives as long as asked for',
      PASTED(null),
      explicit(86_400),
      serve('lives_long_enough', firstConditions(explicit(86_400))),
    ],
    [
      'a rotation under way is waited for',
      PASTED(9_000, claimed),
      SOFT,
      { action: 'wait', reason: 'claimed' },
    ],
    [
      'an abandoned one is asked about',
      PASTED(9_000, abandoned),
      SOFT,
      { action: 'verify', reason: 'in_doubt' },
    ],
    [
      'one without a clear answer is asked about',
      PASTED(9_000, doubted),
      SOFT,
      { action: 'verify', reason: 'in_doubt' },
    ],
    [
      'also when the token should be out',
      PASTED(-1, doubted),
      SOFT,
      { action: 'verify', reason: 'in_doubt' },
    ],
    [
      'what is over is said to be',
      OAUTH(3_000, { status: 'needs_reauthorization' }),
      SOFT,
      refuse('needs_reauthorization', 'inactive'),
    ],
    ['revoked', PASTED(3_000, { status: 'revoked' }), SOFT, refuse('connection_revoked', 'inactive')],
    ['expired', PASTED(-1, { status: 'expired' }), SOFT, refuse('connection_expired', 'inactive')],
  ]
  for (const [name, state, options, expected] of cases)
    t.same(decideServing(state, options, NOW), expected, name)
})

t.test('the conditions', async (t) => {
  t.same(firstConditions(SOFT), { minRemaining: 300, leaseSeconds: 300, acceptPastHalfLife: false })
  t.same(firstConditions(explicit(900)), { minRemaining: 900, leaseSeconds: 900, acceptPastHalfLife: false })
  t.same(conditionsAfterRefresh(SOFT), { minRemaining: 0, leaseSeconds: 300, acceptPastHalfLife: true })
  t.same(
    conditionsAfterRefresh(explicit(900)),
    { minRemaining: 870, leaseSeconds: 900, acceptPastHalfLife: true },
    'on its way here a token loses a little of its life',
  )
  t.same(conditionsAfterRefresh(explicit(10)), {
    minRemaining: 0,
    leaseSeconds: 10,
    acceptPastHalfLife: true,
  })
  t.same(conditionsWhileLeased(SOFT), { minRemaining: 60, leaseSeconds: 300, acceptPastHalfLife: true })
  t.same(conditionsWhileLeased(explicit(900)), {
    minRemaining: 900,
    leaseSeconds: 900,
    acceptPastHalfLife: true,
  })
  t.same(conditionsWhileUnavailable(SOFT), { minRemaining: 5, leaseSeconds: 300, acceptPastHalfLife: true })
  t.same(conditionsWhileUnavailable(explicit(900)), {
    minRemaining: 900,
    leaseSeconds: 900,
    acceptPastHalfLife: true,
  })
})

const someTime = fc.option(fc.integer({ min: -9_000, max: 9_000 }).map(at), { nil: null })
const someOptions: fc.Arbitrary<LeaseOptions> = fc.record({
  minTtl: fc.option(fc.integer({ min: 1, max: 86_400 }), { nil: undefined }),
  onConflict: fc.constantFrom('respect' as const, 'preempt' as const),
})
const someState: fc.Arbitrary<ServingState> = fc.record({
  status: fc.constantFrom('active', 'active', 'active', 'needs_reauthorization', 'revoked', 'expired'),
  token_version: fc.constant(1),
  token_issued_at: fc.integer({ min: -20_000, max: 0 }).map(at),
  token_expires_at: someTime,
  attempt_id: fc.option(fc.constant('attempt'), { nil: null }),
  attempt_deadline: someTime,
  unanswered_since: someTime,
  retry_after: someTime,
  refreshable: fc.boolean(),
  leased: fc.boolean(),
})

t.test('whatever the state and the options', async (t) => {
  t.test('a decision to serve is one whose conditions are met', async () =>
    fc.assert(
      fc.property(someState, someOptions, (state, options) => {
        const decision = decideServing(state, options, NOW)
        if (decision.action !== 'serve') return true
        const left =
          state.token_expires_at === null
            ? Number.POSITIVE_INFINITY
            : (state.token_expires_at.getTime() - NOW.getTime()) / 1000
        return (
          state.status === 'active' &&
          state.attempt_id === null &&
          state.unanswered_since === null &&
          left > decision.conditions.minRemaining &&
          left >= (options.minTtl ?? 0) &&
          judge(state, decision.conditions, NOW).served
        )
      }),
      { numRuns: 5_000 },
    ),
  )

  t.test('a token in doubt is never served', async () =>
    fc.assert(
      fc.property(someState, someOptions, someTime, (state, options, time) => {
        const doubted = { ...state, unanswered_since: time ?? NOW }
        return decideServing(doubted, options, NOW).action !== 'serve'
      }),
    ),
  )

  t.test('what cannot be refreshed is never to be', async () =>
    fc.assert(
      fc.property(
        someState,
        someOptions,
        (state, options) =>
          decideServing({ ...state, refreshable: false }, options, NOW).action !== 'refresh',
      ),
    ),
  )

  t.test('the conditions never promise more than was asked for, nor take less than is shared', async () => {
    const conditionsOf = (options: LeaseOptions): Record<string, LeaseConditions> => ({
      first: firstConditions(options),
      refreshed: conditionsAfterRefresh(options),
      leased: conditionsWhileLeased(options),
      unavailable: conditionsWhileUnavailable(options),
    })
    fc.assert(
      fc.property(someOptions, (options) => {
        const asked = options.minTtl ?? DEFAULT_MIN_TTL_SECONDS
        const conditions = conditionsOf(options)
        return (
          Object.values(conditions).every(
            ({ minRemaining, leaseSeconds }) =>
              leaseSeconds === asked && minRemaining >= 0 && minRemaining <= asked,
          ) &&
          conditions.leased!.minRemaining === (options.minTtl ?? SHARED_MINIMUM_SECONDS) &&
          conditions.unavailable!.minRemaining === (options.minTtl ?? OUTAGE_MINIMUM_SECONDS)
        )
      }),
    )
  })
})
