import { addSeconds } from '../clock/clock.ts'
import type { ConnectionRow } from '../db/tables.ts'
import {
  EARLY_PAUSE_SHARE,
  isClaimed,
  LONGEST_EARLY_PAUSE_SECONDS,
  type OnConflict,
  type RefreshReason,
} from '../token-lifecycle/refresh-decision.ts'

/**
 * When a token is handed out as it is, and when it is refreshed first. Pure: no I/O, the time is passed in.
 * The statement in leases/queries.ts is the fast copy of `judge`; a property test compares the two on the same rows.
 */

/** A lookup without min_ttl prefers a token that lives this long, and accepts less. */
export const DEFAULT_MIN_TTL_SECONDS = 300
/** While leases rule out a refresh, a lookup without min_ttl gets a token that lives this long. */
export const SHARED_MINIMUM_SECONDS = 60
/** While GitLab is away, a token is served until shortly before its end. */
export const OUTAGE_MINIMUM_SECONDS = 5
/** Clocks agree within less. A token that was issued later than this from now would live longer than its whole life. */
export const CLOCK_SLACK_SECONDS = 2
/** Between issuing and arriving here a token loses a little of its life. */
const ISSUING_SLACK_SECONDS = 30

/** A connection as the statement found it. */
export type ServingState = Pick<
  ConnectionRow,
  | 'status'
  | 'token_version'
  | 'token_issued_at'
  | 'token_expires_at'
  | 'attempt_id'
  | 'attempt_deadline'
  | 'unanswered_since'
  | 'retry_after'
> & {
  refreshable: boolean
  /** Whether a lease on the current token version is active. */
  leased: boolean
}

/** What a caller asks for. */
export type LeaseOptions = {
  /** Seconds. undefined: 300 are preferred, less is accepted. */
  minTtl: number | undefined
  onConflict: OnConflict
  purpose?: string | undefined
  /** undefined: plain. */
  delivery?: Delivery | undefined
  /** The lease that the caller gives up for this one: it does not stand in the way of a refresh. */
  ownLease?: string | undefined
}

/** How a credential leaves: see sealed-delivery.ts. */
export type Delivery = 'plain' | 'sealed' | 'wrapped'

/** The conditions under which the statement leases a token. */
export type LeaseConditions = {
  /** Seconds that it must live at least. */
  minRemaining: number
  /** Seconds that the lease lasts, or until the token ends. */
  leaseSeconds: number
  /** false: a token past half its life is refreshed while nobody holds a lease on it. */
  acceptPastHalfLife: boolean
}

/** How a token meets the conditions. */
export type Served =
  | 'lives_long_enough'
  /** Past half its life, and a refresh would break the others. */
  | 'leased_by_others'
  /** Past half its life, and the last refresh failed not long ago. */
  | 'gitlab_backing_off'
  | 'past_half_life_accepted'
/** Why a token does not meet the conditions. */
export type NotServed = 'inactive' | 'claimed' | 'in_doubt' | 'too_short' | 'past_half_life'

export type Judgement = { served: true; reason: Served } | { served: false; reason: NotServed }

const served = (reason: Served): Judgement => ({ served: true, reason })
const notServed = (reason: NotServed): Judgement => ({ served: false, reason })

export const remainingSeconds = (expiresAt: Date | null, now: Date): number =>
  expiresAt === null ? Number.POSITIVE_INFINITY : (expiresAt.getTime() - now.getTime()) / 1000

const lifetimeSeconds = ({ token_issued_at, token_expires_at }: ServingState): number =>
  remainingSeconds(token_expires_at, token_issued_at)

/**
 * A failed refresh may leave a token in doubt for a minute. So after one, a token that still lives long is not refreshed
 * early again for a sixth of the life that it has left. END_OF_EARLY_PAUSE in token-lifecycle/queries.ts is the same in SQL.
 */
const endOfEarlyPause = (retryAfter: Date, remaining: number): Date =>
  addSeconds(retryAfter, Math.min(remaining / EARLY_PAUSE_SHARE, LONGEST_EARLY_PAUSE_SECONDS))
/** What is left of a token, and never more than its whole life: GitLab's clock may be ahead of ours. */
const believedSeconds = (state: ServingState, now: Date): number =>
  Math.min(remainingSeconds(state.token_expires_at, now), lifetimeSeconds(state))

/** Our clock went back since the token was issued, so nobody knows how long it still lives. */
const isFromTheFuture = ({ token_issued_at, token_expires_at }: ServingState, now: Date): boolean =>
  token_expires_at !== null && token_issued_at.getTime() - now.getTime() > CLOCK_SLACK_SECONDS * 1000

/** Whether a token meets the conditions, and why. */
export const judge = (
  state: ServingState,
  { minRemaining, acceptPastHalfLife }: Pick<LeaseConditions, 'minRemaining' | 'acceptPastHalfLife'>,
  now: Date,
): Judgement => {
  if (state.status !== 'active') return notServed('inactive')
  if (isClaimed(state, now)) return notServed('claimed')
  // The writer of an attempt past its deadline died, and GitLab may have acted.
  if (state.attempt_id !== null || state.unanswered_since !== null) return notServed('in_doubt')
  const remaining = believedSeconds(state, now)
  if (state.refreshable && isFromTheFuture(state, now)) return notServed('in_doubt')
  if (remaining <= minRemaining) return notServed('too_short')
  if (!state.refreshable || remaining === Number.POSITIVE_INFINITY) return served('lives_long_enough')
  if (remaining > lifetimeSeconds(state) / 2) return served('lives_long_enough')
  if (acceptPastHalfLife) return served('past_half_life_accepted')
  if (state.retry_after !== null && endOfEarlyPause(state.retry_after, remaining) > now)
    return served('gitlab_backing_off')
  return state.leased ? served('leased_by_others') : notServed('past_half_life')
}

/** The conditions with which a lookup starts, before anything is known of the connection. */
export const firstConditions = ({ minTtl }: Pick<LeaseOptions, 'minTtl'>): LeaseConditions => {
  const seconds = minTtl ?? DEFAULT_MIN_TTL_SECONDS
  return { minRemaining: seconds, leaseSeconds: seconds, acceptPastHalfLife: false }
}

export type RefusalCode =
  | 'needs_reauthorization'
  | 'connection_expired'
  | 'connection_revoked'
  | 'min_ttl_unattainable'

export type ServingDecision =
  | { action: 'serve'; reason: Served | 'lives_as_long_as_it_can'; conditions: LeaseConditions }
  | { action: 'refresh'; reason: Extract<RefreshReason, NotServed> }
  /** Another writer is changing the token. */
  | { action: 'wait'; reason: 'claimed' }
  /** No refresh can clear the doubt: GitLab has to be asked. */
  | { action: 'verify'; reason: 'in_doubt' }
  | { action: 'refuse'; reason: NotServed; code: RefusalCode }

/** What a lookup does with a connection, given the connection as it is. */
export const decideServing = (
  state: ServingState,
  options: Pick<LeaseOptions, 'minTtl'>,
  now: Date,
): ServingDecision => {
  const first = firstConditions(options)
  const { served, reason } = judge(state, first, now)
  if (served) return { action: 'serve', reason, conditions: first }
  if (reason === 'inactive') return { action: 'refuse', reason, code: refusalOf(state) }
  return state.refreshable
    ? decideRefreshable(state, options, reason, now)
    : decideUnrefreshable(state, options, reason, now)
}

const refusalOf = ({ status }: ServingState): RefusalCode => {
  if (status === 'expired') return 'connection_expired'
  return status === 'revoked' ? 'connection_revoked' : 'needs_reauthorization'
}

const decideUnrefreshable = (
  state: ServingState,
  options: Pick<LeaseOptions, 'minTtl'>,
  reason: Exclude<NotServed, 'inactive'>,
  now: Date,
): ServingDecision => {
  if (reason === 'claimed') return { action: 'wait', reason }
  if (reason === 'in_doubt') return { action: 'verify', reason }
  const remaining = believedSeconds(state, now)
  if (remaining <= 0) return { action: 'refuse', reason, code: 'connection_expired' }
  if (options.minTtl !== undefined && remaining < options.minTtl)
    return { action: 'refuse', reason, code: 'min_ttl_unattainable' }
  const conditions = { ...firstConditions(options), minRemaining: 0, acceptPastHalfLife: true }
  return { action: 'serve', reason: 'lives_as_long_as_it_can', conditions }
}

const decideRefreshable = (
  state: ServingState,
  options: Pick<LeaseOptions, 'minTtl'>,
  reason: Exclude<NotServed, 'inactive'>,
  now: Date,
): ServingDecision => {
  const attainable = lifetimeSeconds(state)
  const first = firstConditions(options)
  if (options.minTtl !== undefined && options.minTtl > attainable)
    return { action: 'refuse', reason, code: 'min_ttl_unattainable' }
  // Tokens of this instance may live shorter than what is preferred: then half of their life is enough.
  const minRemaining = Math.floor(attainable / 2)
  const isShortLived = options.minTtl === undefined && attainable / 2 < first.minRemaining
  const isCertain = reason === 'too_short' || reason === 'past_half_life'
  if (isCertain && isShortLived && remainingSeconds(state.token_expires_at, now) > attainable / 2) {
    const conditions = { ...first, minRemaining, acceptPastHalfLife: true }
    return { action: 'serve', reason: 'lives_as_long_as_it_can', conditions }
  }
  return { action: 'refresh', reason }
}

/** The conditions right after a refresh: GitLab has no better token than the one that it just issued. */
export const conditionsAfterRefresh = (options: Pick<LeaseOptions, 'minTtl'>): LeaseConditions => ({
  ...firstConditions(options),
  minRemaining: options.minTtl === undefined ? 0 : Math.max(0, options.minTtl - ISSUING_SLACK_SECONDS),
  acceptPastHalfLife: true,
})

/** The conditions while others hold leases: a lookup without min_ttl shares a token that lives a minute or more. */
export const conditionsWhileLeased = (options: Pick<LeaseOptions, 'minTtl'>): LeaseConditions => ({
  ...firstConditions(options),
  minRemaining: options.minTtl ?? SHARED_MINIMUM_SECONDS,
  acceptPastHalfLife: true,
})

/** The conditions while GitLab does not answer: the token at hand, while it lives. */
export const conditionsWhileUnavailable = (options: Pick<LeaseOptions, 'minTtl'>): LeaseConditions => ({
  ...firstConditions(options),
  minRemaining: options.minTtl ?? OUTAGE_MINIMUM_SECONDS,
  acceptPastHalfLife: true,
})
