import type { ConnectionRow } from '../db/tables.ts'
import type { OnConflict } from './refresh-decision.ts'

/** Pure rules of handing out a token: no I/O, the time is passed in. */

/** A lookup without min_ttl wants this long, and takes less. */
export const DEFAULT_MIN_TTL_SECONDS = 300
/** While leases rule out a refresh, a lookup without min_ttl takes a token that lives this long. */
export const SHARED_MINIMUM_SECONDS = 60
/** While GitLab is away, a token is served until shortly before its end. */
export const OUTAGE_MINIMUM_SECONDS = 5
/** Between issuing and arriving here a token loses a little of its life. */
const ISSUING_SLACK_SECONDS = 30

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
> & { refreshable: boolean }

export type Wish = {
  /** undefined = soft: as long as it easily goes. */
  minTtl: number | undefined
  onConflict: OnConflict
}

/** Under which a grant is made: the token lives that long, and early refreshing is not worth it. */
export type GrantTerms = { minRemaining: number; leaseSeconds: number; acceptPastHalfLife: boolean }

const lifetimeSeconds = ({ token_issued_at, token_expires_at }: ServingState): number =>
  token_expires_at === null
    ? Number.POSITIVE_INFINITY
    : (token_expires_at.getTime() - token_issued_at.getTime()) / 1000

export const remainingSeconds = (expiresAt: Date | null, now: Date): number =>
  expiresAt === null ? Number.POSITIVE_INFINITY : (expiresAt.getTime() - now.getTime()) / 1000

/** The terms with which a lookup starts, before anything is known of the connection. */
export const firstTerms = ({ minTtl }: Wish): GrantTerms => {
  const seconds = minTtl ?? DEFAULT_MIN_TTL_SECONDS
  return { minRemaining: seconds, leaseSeconds: seconds, acceptPastHalfLife: false }
}

export type ServingDecision =
  | { action: 'grant'; terms: GrantTerms }
  | { action: 'refresh' }
  /** Another writer is at it. */
  | { action: 'wait' }
  /** In doubt, and no refresh can clear it: GitLab has to be asked. */
  | { action: 'verify' }
  | {
      action: 'refuse'
      code: 'needs_reauthorization' | 'connection_expired' | 'connection_revoked' | 'min_ttl_unattainable'
    }

/** After the first terms were not met: what next, given the connection as it is. */
export const decideServing = (state: ServingState, wish: Wish, now: Date): ServingDecision => {
  const terms = firstTerms(wish)
  switch (state.status) {
    case 'needs_reauthorization':
      return { action: 'refuse', code: 'needs_reauthorization' }
    case 'expired':
      return { action: 'refuse', code: 'connection_expired' }
    case 'revoked':
      return { action: 'refuse', code: 'connection_revoked' }
  }
  const remaining = remainingSeconds(state.token_expires_at, now)
  const certain = state.attempt_id === null && state.unanswered_since === null
  if (!state.refreshable) {
    if (!certain) {
      const claimed =
        state.attempt_id !== null && state.attempt_deadline !== null && state.attempt_deadline > now
      return { action: claimed ? 'wait' : 'verify' }
    }
    if (remaining <= 0) return { action: 'refuse', code: 'connection_expired' }
    if (wish.minTtl !== undefined && remaining < wish.minTtl)
      return { action: 'refuse', code: 'min_ttl_unattainable' }
    return { action: 'grant', terms: { ...terms, minRemaining: 0, acceptPastHalfLife: true } }
  }
  const attainable = lifetimeSeconds(state)
  if (wish.minTtl !== undefined && wish.minTtl > attainable)
    return { action: 'refuse', code: 'min_ttl_unattainable' }
  // An instance may issue tokens that live shorter than what a soft lookup would like: half of their life must do.
  const soft = wish.minTtl === undefined ? Math.min(terms.minRemaining, attainable / 2) : terms.minRemaining
  if (certain && soft < terms.minRemaining && remaining > soft) {
    return { action: 'grant', terms: { ...terms, minRemaining: Math.floor(soft), acceptPastHalfLife: true } }
  }
  return { action: 'refresh' }
}

/** The terms right after a refresh: what GitLab just issued is as good as it gets. */
export const termsAfterRefresh = (wish: Wish): GrantTerms => ({
  ...firstTerms(wish),
  minRemaining: wish.minTtl === undefined ? 0 : Math.max(0, wish.minTtl - ISSUING_SLACK_SECONDS),
  acceptPastHalfLife: true,
})

/** The terms while others hold leases: a soft lookup shares the token while it lives a minute or more. */
export const termsWhileLeased = (wish: Wish): GrantTerms => ({
  ...firstTerms(wish),
  minRemaining: wish.minTtl ?? SHARED_MINIMUM_SECONDS,
  acceptPastHalfLife: true,
})

/** The terms while GitLab does not answer: the token at hand, while it lives. */
export const termsWhileUnavailable = (wish: Wish): GrantTerms => ({
  ...firstTerms(wish),
  minRemaining: wish.minTtl ?? OUTAGE_MINIMUM_SECONDS,
  acceptPastHalfLife: true,
})
