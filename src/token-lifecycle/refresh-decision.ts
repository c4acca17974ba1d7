import type { ConnectionRow } from '../db/tables.ts'
import type { Part } from '../weather/incidents.ts'
import { REFUSAL_GRACE_SECONDS } from '../weather/refusal-budget.ts'
import { type FailureHistory, mayStillAct } from './doubt.ts'

/** Pure rules of the refresh: no I/O, the time is passed in. */

/** How long a claim lasts. Its writer prolongs it while GitLab is asked; the claim of a writer that died ends soon. */
export const CLAIM_SECONDS = 30
const FIRST_BACKOFF_SECONDS = 5
const LONGEST_BACKOFF_SECONDS = 60
const LONGEST_NAMED_SECONDS = 3600
/** So many tries at times that GitLab named may fail before the pause grows. */
const NAMED_IN_VAIN = 5

/** After a failed refresh, an early one waits for this share of the life that the token has left. */
export const EARLY_PAUSE_SHARE = 6
export const LONGEST_EARLY_PAUSE_SECONDS = 600

/** What people read of a token that nothing renews and that is past its end. */
export const TOKEN_REACHED_ITS_END = 'The token has reached its end. Replace it by a new one.'

/** Whether the service can renew the token by itself; queries.ts has the same in SQL. */
export const isRefreshable = ({
  refresh_token,
  oauth_app_id,
}: Pick<ConnectionRow, 'refresh_token' | 'oauth_app_id'>): boolean =>
  refresh_token !== null && oauth_app_id !== null

type AttemptState = Pick<ConnectionRow, 'attempt_id' | 'attempt_deadline'>

/** Whether one writer has the right to change the token now. */
export const isClaimed = <State extends AttemptState>(
  state: State,
  now: Date,
): state is State & { attempt_id: string; attempt_deadline: Date } =>
  state.attempt_id !== null && state.attempt_deadline !== null && state.attempt_deadline > now

export type RefreshState = Pick<
  ConnectionRow,
  | 'status'
  | 'token_version'
  | 'attempt_id'
  | 'attempt_deadline'
  | 'attempt_sent_at'
  | 'unanswered_since'
  | 'retry_after'
> & {
  refreshable: boolean
  /** Whether the connection waits for its owner (gitlab/owner-refusal.ts). */
  waitsForOwner?: boolean
  /** End of the last lease on the current token version; null = nobody holds one. */
  leasedUntil: Date | null
}

export type OnConflict = 'respect' | 'preempt'

/** Why a refresh is sent; for the log. */
export type RefreshReason =
  /** From a lookup: see serving-decision.ts. */
  | 'past_half_life'
  | 'too_short'
  | 'in_doubt'
  | 'claimed'
  /** A scanner reported that GitLab refuses the token, and GitLab says so too. */
  | 'refused_by_gitlab'
  | 'asked_by_manager'
  /** The last attempt failed, and its pause is over. */
  | 'retry'
  /** GitLab refused the owner, and the token with which to ask again has ended. */
  | 'owner_check'

export type RefreshRequest = {
  /** The token version that the caller wants replaced. A newer one is what it wants already. */
  knownVersion: number
  onConflict: OnConflict
  reason: RefreshReason
  /** A lease of whoever asks, which does not stand in the way: its holder takes the next version. */
  ownLease?: string | undefined
}

export type RefreshOutcome =
  /** There is a newer version than the one that was to be replaced. */
  | { kind: 'newer_version' }
  | { kind: 'in_use'; until: Date }
  | { kind: 'failing'; code: FailureCode; until: Date }
  /** GitLab has not answered yet. The attempt goes on, and a late answer is saved. */
  | { kind: 'pending' }
  /** No longer active, not refreshable, deleted, or claimed by another: read the connection again. */
  | { kind: 'read_again' }

export type RefreshDecision =
  | { action: 'claim'; reason: 'due' | 'abandoned_attempt' }
  | { action: 'wait'; reason: 'claimed_elsewhere'; until: Date }
  | { action: 'stop'; reason: 'newer_version' | 'inactive' | 'not_refreshable' }
  | { action: 'stop'; reason: 'in_use'; until: Date }
  | { action: 'stop'; reason: 'backing_off'; until: Date }

/** Whether a writer may claim the refresh of a connection now. */
export const decideRefresh = (
  state: RefreshState,
  {
    knownVersion,
    onConflict,
    reason,
  }: Pick<RefreshRequest, 'knownVersion' | 'onConflict'> & {
    reason?: RefreshReason
  },
  now: Date,
): RefreshDecision => {
  const isOwnerCheck = state.waitsForOwner === true && reason === 'owner_check'
  if (state.status !== 'active' && !isOwnerCheck) return { action: 'stop', reason: 'inactive' }
  if (state.token_version > knownVersion) return { action: 'stop', reason: 'newer_version' }
  if (!state.refreshable) return { action: 'stop', reason: 'not_refreshable' }
  if (isClaimed(state, now))
    return { action: 'wait', reason: 'claimed_elsewhere', until: state.attempt_deadline }
  // The check of an owner has a pause of its own, which is over.
  if (!isOwnerCheck && state.retry_after !== null && state.retry_after > now) {
    return { action: 'stop', reason: 'backing_off', until: state.retry_after }
  }
  // A token that may be dead already is protected by no lease.
  const isDoubtful = state.unanswered_since !== null || state.attempt_sent_at !== null
  if (onConflict === 'respect' && !isDoubtful && state.leasedUntil !== null && state.leasedUntil > now) {
    return { action: 'stop', reason: 'in_use', until: state.leasedUntil }
  }
  return { action: 'claim', reason: state.attempt_id === null ? 'due' : 'abandoned_attempt' }
}

const doubled = (firstSeconds: number, times: number): number =>
  Math.min(LONGEST_BACKOFF_SECONDS, firstSeconds * 2 ** Math.min(times, 10))

/**
 * Doubles from 5 s to a minute. The time that GitLab names counts instead: who waits longer sleeps for nothing. Where the
 * named time was too short again and again, the pause grows from a second on.
 */
export const backoffSeconds = (failureCount: number, namedSeconds?: number): number =>
  namedSeconds === undefined
    ? doubled(FIRST_BACKOFF_SECONDS, failureCount)
    : Math.max(
        Math.min(namedSeconds, LONGEST_NAMED_SECONDS),
        doubled(1, Math.max(0, failureCount - NAMED_IN_VAIN)),
      )

export type FailureCode =
  | 'gitlab_unavailable'
  | 'oauth_app_rejected'
  | 'refresh_answer_lost'
  | 'rotation_answer_lost'
  | 'refresh_token_refused'
  /** The database was restored, or failed over, to a state before the last refresh. */
  | 'database_went_back'

/** What a failed refresh tells of the current access token and of GitLab. */
export type RefreshFailure = {
  code: FailureCode
  detail: string
  /** Whether GitLab may have acted: then the current access token may be dead. */
  mayHaveActed: boolean
  retryAfterSeconds?: number | undefined
}

export type AfterFailure = FailureHistory & { retry_after: Date; status: 'active' | 'needs_reauthorization' }

/** An outage says nothing about the token: a later, more telling cause may take its place. */
const TELLS_NOTHING: ReadonlySet<string | null> = new Set([null, 'gitlab_unavailable', 'oauth_app_rejected'])

/**
 * Whether to ask GitLab about the current token after this failure: only when GitLab refused the refresh token. Else
 * GitLab did not act, or may still be acting, and its answer would prove nothing.
 */
export const asksAboutToken = ({ code }: RefreshFailure): boolean => code === 'refresh_token_refused'

/** The refresh token was spent in a time that the database no longer knows of. */
const WENT_BACK: Pick<RefreshFailure, 'code' | 'detail'> = {
  code: 'database_went_back',
  detail:
    'The database went back to a state before the last refresh, and the token issued then is on no disk: connect the account again.',
}

export type FailureContext = {
  /** What GitLab said of the current access token since; undefined = it was not asked or did not say. */
  tokenAlive: boolean | undefined
  /** When the refresh was sent. */
  sentAt: Date
  /** Whether the database went back to an earlier state since this token was issued. */
  wentBack: boolean
  /** In an incident (weather/incidents.ts); undefined = there is none. */
  part?: Part | undefined
  now: Date
}

/**
 * What is written after a refresh that brought no token. Only GitLab's refusal of the refresh token, kept up for
 * minutes, ends in `needs_reauthorization`. The first telling cause stays what people are shown.
 */
export const afterFailure = (
  history: FailureHistory,
  failure: RefreshFailure,
  context: FailureContext,
): AfterFailure => {
  const { now } = context
  const refused = asksAboutToken(failure)
  const refusedSince = refused ? (history.refused_since ?? now) : history.refused_since
  // One was refused for minutes on behalf of all: a lag of GitLab's database is ruled out.
  const graceSeconds = context.part === 'told' ? 0 : REFUSAL_GRACE_SECONDS
  const dead =
    refused &&
    context.part !== 'held' &&
    refusedSince !== null &&
    now.getTime() - refusedSince.getTime() >= graceSeconds * 1000
  const keepsCause = !TELLS_NOTHING.has(history.failure_code)
  const failuresBefore = refused && isFirstRefusal(history) ? 0 : history.failure_count
  const cause = refused && context.wentBack ? WENT_BACK : failure
  return {
    status: dead ? 'needs_reauthorization' : 'active',
    unanswered_since: unansweredAfter(history, failure, context),
    refused_since: refusedSince,
    failing_since: history.failing_since ?? now,
    failure_count: failuresBefore + 1,
    failure_code: keepsCause ? history.failure_code : cause.code,
    failure_detail: keepsCause ? history.failure_detail : cause.detail,
    retry_after: new Date(now.getTime() + backoffSeconds(failuresBefore, failure.retryAfterSeconds) * 1000),
  }
}

/** Outages before say nothing of a refusal, which may be wrong: it is tried again as soon as after no outage. */
const isFirstRefusal = ({ refused_since, unanswered_since, failure_code }: FailureHistory): boolean =>
  refused_since === null && unanswered_since === null && TELLS_NOTHING.has(failure_code)

const unansweredAfter = (
  { unanswered_since }: FailureHistory,
  failure: RefreshFailure,
  { tokenAlive, sentAt, now }: FailureContext,
): Date | null => {
  // The latest request counts: GitLab may act on it for as long as on any.
  if (failure.mayHaveActed) return sentAt
  if (!asksAboutToken(failure)) return unanswered_since
  if (tokenAlive === true && mayStillAct(unanswered_since, now)) return unanswered_since
  return tokenAlive === true ? null : (unanswered_since ?? now)
}
