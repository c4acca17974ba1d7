import fc from 'fast-check'
import t from 'tap'
import {
  DEFAULT_MIN_TTL_SECONDS,
  decideServing,
  firstTerms,
  type GrantTerms,
  OUTAGE_MINIMUM_SECONDS,
  type ServingState,
  SHARED_MINIMUM_SECONDS,
  termsAfterRefresh,
  termsWhileLeased,
  termsWhileUnavailable,
  type Wish,
} from '../../src/connections/serving-decision.ts'

const NOW = new Date('2026-11-02T10:30:00Z')
const at = (seconds: number): Date => new Date(NOW.getTime() + seconds * 1000)

const SOFT: Wish = { minTtl: undefined, onConflict: 'respect' }
const explicit = (minTtl: number): Wish => ({ minTtl, onConflict: 'respect' })

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

t.test('decideServing, once the first terms were not met', async (t) => {
  const refuse = (code: string) => ({ action: 'refuse', code })
  const claimed = { attempt_id: 'attempt', attempt_deadline: at(10) }
  const abandoned = { attempt_id: 'attempt', attempt_deadline: at(-10) }
  const doubted = { unanswered_since: at(-10) }
  const cases: [name: string, state: ServingState, wish: Wish, expected: object][] = [
    ['a refreshable token is refreshed', OAUTH(100), SOFT, { action: 'refresh' }],
    ['also one past half its life', OAUTH(3_000), SOFT, { action: 'refresh' }],
    ['also one in doubt', OAUTH(3_000, doubted), SOFT, { action: 'refresh' }],
    ['also one that another is at: the refresh waits', OAUTH(3_000, claimed), SOFT, { action: 'refresh' }],
    ['one that runs out is refreshed for an explicit wish', OAUTH(500), explicit(600), { action: 'refresh' }],
    [
      'no refresh brings a token that lives longer than GitLab lets one live',
      OAUTH(100),
      explicit(7_201),
      refuse('min_ttl_unattainable'),
    ],
    ['as long as GitLab lets one live can be had', OAUTH(100), explicit(7_200), { action: 'refresh' }],
    [
      'a short life is enough for a soft wish, up to its half',
      SHORT_LIVED(46),
      SOFT,
      { action: 'grant', terms: { minRemaining: 45, leaseSeconds: 300, acceptPastHalfLife: true } },
    ],
    ['at its half it is refreshed', SHORT_LIVED(45), SOFT, { action: 'refresh' }],
    ['but not for an explicit one', SHORT_LIVED(80), explicit(300), refuse('min_ttl_unattainable')],
    ['a short life in doubt is refreshed', { ...SHORT_LIVED(80), ...doubted }, SOFT, { action: 'refresh' }],
    [
      'a pasted token is served until its end for a soft wish',
      PASTED(100),
      SOFT,
      { action: 'grant', terms: { minRemaining: 0, leaseSeconds: 300, acceptPastHalfLife: true } },
    ],
    [
      'a pasted token cannot be made to live longer',
      PASTED(100),
      explicit(101),
      refuse('min_ttl_unattainable'),
    ],
    ['a pasted token that is out is expired', PASTED(0), SOFT, refuse('connection_expired')],
    [
      'one without an end lives as long as wished',
      PASTED(null),
      explicit(86_400),
      { action: 'grant', terms: { minRemaining: 0, leaseSeconds: 86_400, acceptPastHalfLife: true } },
    ],
    ['a rotation under way is waited for', PASTED(9_000, claimed), SOFT, { action: 'wait' }],
    ['an abandoned one is asked about', PASTED(9_000, abandoned), SOFT, { action: 'verify' }],
    ['one without a clear answer is asked about', PASTED(9_000, doubted), SOFT, { action: 'verify' }],
    ['also when the token should be out', PASTED(-1, doubted), SOFT, { action: 'verify' }],
    [
      'what is over is said to be',
      OAUTH(3_000, { status: 'needs_reauthorization' }),
      SOFT,
      refuse('needs_reauthorization'),
    ],
    ['revoked', PASTED(3_000, { status: 'revoked' }), SOFT, refuse('connection_revoked')],
    ['expired', PASTED(-1, { status: 'expired' }), SOFT, refuse('connection_expired')],
  ]
  for (const [name, state, wish, expected] of cases) t.same(decideServing(state, wish, NOW), expected, name)
})

t.test('the terms of a grant', async (t) => {
  t.same(firstTerms(SOFT), { minRemaining: 300, leaseSeconds: 300, acceptPastHalfLife: false })
  t.same(firstTerms(explicit(900)), { minRemaining: 900, leaseSeconds: 900, acceptPastHalfLife: false })
  t.same(termsAfterRefresh(SOFT), { minRemaining: 0, leaseSeconds: 300, acceptPastHalfLife: true })
  t.same(
    termsAfterRefresh(explicit(900)),
    { minRemaining: 870, leaseSeconds: 900, acceptPastHalfLife: true },
    'on its way here a token loses a little of its life',
  )
  t.same(termsAfterRefresh(explicit(10)), { minRemaining: 0, leaseSeconds: 10, acceptPastHalfLife: true })
  t.same(termsWhileLeased(SOFT), { minRemaining: 60, leaseSeconds: 300, acceptPastHalfLife: true })
  t.same(termsWhileLeased(explicit(900)), { minRemaining: 900, leaseSeconds: 900, acceptPastHalfLife: true })
  t.same(termsWhileUnavailable(SOFT), { minRemaining: 5, leaseSeconds: 300, acceptPastHalfLife: true })
  t.same(termsWhileUnavailable(explicit(900)), {
    minRemaining: 900,
    leaseSeconds: 900,
    acceptPastHalfLife: true,
  })
})

const someTime = fc.option(fc.integer({ min: -9_000, max: 9_000 }).map(at), { nil: null })
const someWish: fc.Arbitrary<Wish> = fc.record({
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
})

t.test('whatever the state and the wish', async (t) => {
  t.test('a decision to grant is one that the terms are met under', async () =>
    fc.assert(
      fc.property(someState, someWish, (state, wish) => {
        const decision = decideServing(state, wish, NOW)
        if (decision.action !== 'grant') return true
        const left =
          state.token_expires_at === null
            ? Number.POSITIVE_INFINITY
            : (state.token_expires_at.getTime() - NOW.getTime()) / 1000
        return (
          state.status === 'active' &&
          state.attempt_id === null &&
          state.unanswered_since === null &&
          left > decision.terms.minRemaining &&
          left >= (wish.minTtl ?? 0) &&
          decision.terms.acceptPastHalfLife
        )
      }),
      { numRuns: 5_000 },
    ),
  )

  t.test('a token in doubt is never granted', async () =>
    fc.assert(
      fc.property(someState, someWish, someTime, (state, wish, time) => {
        const doubted = { ...state, unanswered_since: time ?? NOW }
        return decideServing(doubted, wish, NOW).action !== 'grant'
      }),
    ),
  )

  t.test('what cannot be refreshed is never to be', async () =>
    fc.assert(
      fc.property(
        someState,
        someWish,
        (state, wish) => decideServing({ ...state, refreshable: false }, wish, NOW).action !== 'refresh',
      ),
    ),
  )

  t.test('the terms never promise more than was asked for, nor take less than is shared', async () => {
    const termsOf = (wish: Wish): Record<string, GrantTerms> => ({
      first: firstTerms(wish),
      refreshed: termsAfterRefresh(wish),
      leased: termsWhileLeased(wish),
      unavailable: termsWhileUnavailable(wish),
    })
    fc.assert(
      fc.property(someWish, (wish) => {
        const asked = wish.minTtl ?? DEFAULT_MIN_TTL_SECONDS
        const terms = termsOf(wish)
        return (
          Object.values(terms).every(
            ({ minRemaining, leaseSeconds }) =>
              leaseSeconds === asked && minRemaining >= 0 && minRemaining <= asked,
          ) &&
          terms.leased!.minRemaining === (wish.minTtl ?? SHARED_MINIMUM_SECONDS) &&
          terms.unavailable!.minRemaining === (wish.minTtl ?? OUTAGE_MINIMUM_SECONDS)
        )
      }),
    )
  })
})
