import type { ConnectionRow } from '../db/tables.ts'

/** Pure rules of the refresh: no I/O, the time is passed in. */

/** How long one writer may hold a connection: longer than the HTTP timeouts to GitLab together. */
export const CLAIM_SECONDS = 30
/** GitLab can refuse a good refresh token for minutes (database replica lag): as long we go on trying. */
export const REFUSAL_GRACE_SECONDS = 300
const FIRST_BACKOFF_SECONDS = 5
const LONGEST_BACKOFF_SECONDS = 60

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

export type RefreshRequest = {
  /** The token version that the caller wants replaced. A newer one is what it wants already. */
  knownVersion: number
  onConflict: OnConflict
  reason: RefreshReason
}

export type RefreshDecision =
  | { action: 'claim'; reason: 'due' | 'abandoned_attempt' }
  | { action: 'wait'; reason: 'claimed_elsewhere'; until: Date }
  | { action: 'stop'; reason: 'newer_version' | 'inactive' | 'not_refreshable' }
  | { action: 'stop'; reason: 'in_use'; until: Date }
  | { action: 'stop'; reason: 'backing_off'; until: Date }

/** Whether a writer may claim the refresh of a connection now. */
export const decideRefresh = (
  state: RefreshState,
  { knownVersion, onConflict }: Pick<RefreshRequest, 'knownVersion' | 'onConflict'>,
  now: Date,
): RefreshDecision => {
  if (state.status !== 'active') return { action: 'stop', reason: 'inactive' }
  if (state.token_version > knownVersion) return { action: 'stop', reason: 'newer_version' }
  if (!state.refreshable) return { action: 'stop', reason: 'not_refreshable' }
  if (isClaimed(state, now))
    return { action: 'wait', reason: 'claimed_elsewhere', until: state.attempt_deadline }
  if (state.retry_after !== null && state.retry_after > now) {
    return { action: 'stop', reason: 'backing_off', until: state.retry_after }
  }
  // A token that may be dead already is protected by no lease.
  const isDoubtful = state.unanswered_since !== null || state.attempt_sent_at !== null
  if (onConflict === 'respect' && !isDoubtful && state.leasedUntil !== null && state.leasedUntil > now) {
    return { action: 'stop', reason: 'in_use', until: state.leasedUntil }
  }
  return { action: 'claim', reason: state.attempt_id === null ? 'due' : 'abandoned_attempt' }
}

/** Doubles from 5 s to a minute, unless GitLab names a time. */
export const backoffSeconds = (failureCount: number, retryAfterSeconds?: number): number => {
  const own = Math.min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** Math.min(failureCount, 10))
  return Math.max(own, Math.min(retryAfterSeconds ?? 0, 3600))
}

export type FailureCode =
  | 'gitlab_unavailable'
  | 'oauth_app_rejected'
  | 'refresh_answer_lost'
  | 'rotation_answer_lost'
  | 'refresh_token_refused'

/** What a failed refresh tells of the current access token and of GitLab. */
export type RefreshFailure = {
  code: FailureCode
  detail: string
  /** Whether GitLab may have acted: then the current access token may be dead. */
  mayHaveActed: boolean
  retryAfterSeconds?: number | undefined
}

type FailureHistory = Pick<
  ConnectionRow,
  'unanswered_since' | 'refused_since' | 'failing_since' | 'failure_count' | 'failure_code' | 'failure_detail'
>

export type AfterFailure = FailureHistory & { retry_after: Date; status: 'active' | 'needs_reauthorization' }

/** An outage says nothing about the token: a later, more telling cause may take its place. */
const TELLS_NOTHING: ReadonlySet<string | null> = new Set([null, 'gitlab_unavailable', 'oauth_app_rejected'])

/**
 * What is written after a refresh that brought no token. Only GitLab's refusal of the refresh token, kept up for
 * minutes, ends in `needs_reauthorization`; the first telling cause stays what people are shown.
 * @param tokenAlive what GitLab said of the current access token since; undefined = it was not asked or did not say.
 */
export const afterFailure = (
  history: FailureHistory,
  failure: RefreshFailure,
  tokenAlive: boolean | undefined,
  now: Date,
): AfterFailure => {
  const refused = failure.code === 'refresh_token_refused'
  const refusedSince = refused ? (history.refused_since ?? now) : history.refused_since
  const dead =
    refused && refusedSince !== null && now.getTime() - refusedSince.getTime() >= REFUSAL_GRACE_SECONDS * 1000
  const doubtful = tokenAlive === undefined ? failure.mayHaveActed || refused : !tokenAlive
  const keepsCause = !TELLS_NOTHING.has(history.failure_code)
  // A token that still works was not replaced: no answer was lost, GitLab only failed.
  const code = failure.code === 'refresh_answer_lost' && tokenAlive ? 'gitlab_unavailable' : failure.code
  return {
    status: dead ? 'needs_reauthorization' : 'active',
    unanswered_since:
      tokenAlive === true ? null : doubtful ? (history.unanswered_since ?? now) : history.unanswered_since,
    refused_since: refusedSince,
    failing_since: history.failing_since ?? now,
    failure_count: history.failure_count + 1,
    failure_code: keepsCause ? history.failure_code : code,
    failure_detail: keepsCause ? history.failure_detail : failure.detail,
    retry_after: new Date(
      now.getTime() + backoffSeconds(history.failure_count, failure.retryAfterSeconds) * 1000,
    ),
  }
}

/** What is written when a writer died: if its request had left, GitLab may have acted on it, and nobody knows the answer. */
export const afterAbandonedAttempt = (row: ConnectionRow): Partial<ConnectionRow> => {
  if (row.attempt_id === null || row.attempt_sent_at === null) return {}
  const keepsCause =
    row.failure_code === 'refresh_answer_lost' ||
    row.failure_code === 'rotation_answer_lost' ||
    row.failure_code === 'refresh_token_refused'
  const what = row.attempt_kind === 'rotate' ? 'rotation' : 'refresh'
  const detail = `A ${what} was sent at ${row.attempt_sent_at.toISOString()}, and the process ended before the answer was saved.`
  return {
    unanswered_since: row.unanswered_since ?? row.attempt_sent_at,
    failing_since: row.failing_since ?? row.attempt_sent_at,
    failure_code: keepsCause ? row.failure_code : `${what}_answer_lost`,
    failure_detail: keepsCause ? row.failure_detail : detail,
  }
}
