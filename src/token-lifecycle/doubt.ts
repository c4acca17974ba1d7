import { addSeconds } from '../clock/clock.ts'
import type { ConnectionRow } from '../db/tables.ts'

/**
 * What is known of a token after a request that GitLab may have acted on has no answer. Pure: no I/O, the time is
 * passed in.
 */

/** The columns that tell how the last attempts went. */
export type FailureHistory = Pick<
  ConnectionRow,
  'unanswered_since' | 'refused_since' | 'failing_since' | 'failure_count' | 'failure_code' | 'failure_detail'
>

/** GitLab works on a request for this long at most, also when a proxy has answered 502 or cut the connection before. */
export const DOUBT_SECONDS = 60

/** Whether GitLab may still act on a request that was sent then: until it cannot, "the token works" proves nothing. */
export const mayStillAct = (unansweredSince: Date | null, now: Date): boolean =>
  unansweredSince !== null && now.getTime() - unansweredSince.getTime() < DOUBT_SECONDS * 1000

export const endOfDoubt = (unansweredSince: Date): Date =>
  new Date(unansweredSince.getTime() + DOUBT_SECONDS * 1000)

/**
 * GitLab's newer auth service takes the reuse of a spent refresh token for theft, and revokes its successor. The older
 * one (Doorkeeper) only refuses it. The prefix tells which of them issued the token.
 */
export const detectsReuse = (refreshToken: string): boolean => refreshToken.startsWith('gliamrt-')

/** A replica that was killed with the successor on its disk is back within this time, and saves it. */
export const SUCCESSOR_SECONDS = 180

export type Settlement =
  | { action: 'send' }
  /** GitLab may still act on the request before, or somebody of ours may still have the successor. */
  | { action: 'wait'; until: Date }
  /** First ask GitLab whether the current token works: then nothing happened. */
  | { action: 'ask' }

/**
 * What a writer does before it sends a refresh:
 *
 * - no doubt: sends it;
 * - in doubt, first retry, Doorkeeper: sends the same refresh again, which settles the doubt soonest and harms nobody;
 * - in doubt otherwise: waits until GitLab can no longer act, then asks;
 * - where reuse is taken for theft: waits also until every replica had the time to save a successor that it may have. After
 *   the database went back, that holds for each row from before.
 */
export const decideSettlement = (
  state: Pick<ConnectionRow, 'unanswered_since' | 'failure_count'> & {
    detectsReuse: boolean
    /** When the database went back, if the row is from before. */
    wentBackAt?: Date | undefined
  },
  now: Date,
): Settlement => {
  const { unanswered_since, failure_count, detectsReuse, wentBackAt } = state
  const end = wentBackAt && addSeconds(wentBackAt, SUCCESSOR_SECONDS)
  if (detectsReuse && end && end > now) return { action: 'wait', until: end }
  if (unanswered_since === null || (!detectsReuse && failure_count <= 1)) return { action: 'send' }
  const until = addSeconds(unanswered_since, detectsReuse ? SUCCESSOR_SECONDS : DOUBT_SECONDS)
  return until > now ? { action: 'wait', until } : { action: 'ask' }
}

/** What is written when GitLab, asked late enough, says that the current token works: no answer was lost. */
export const afterDoubtCleared = (
  history: FailureHistory,
): Pick<FailureHistory, 'unanswered_since' | 'failure_code' | 'failure_detail'> =>
  history.failure_code === 'refresh_answer_lost'
    ? {
        unanswered_since: null,
        failure_code: 'gitlab_unavailable',
        failure_detail: 'GitLab gave no answer to a refresh, and did not act on it.',
      }
    : {
        unanswered_since: null,
        failure_code: history.failure_code,
        failure_detail: history.failure_detail,
      }

/** What is written when a writer died: if its request had left, GitLab may have acted on it, and nobody knows the answer. */
export const afterAbandonedAttempt = (row: ConnectionRow): Partial<ConnectionRow> => {
  if (row.attempt_id === null || row.attempt_sent_at === null) return {}
  const keepsCause =
    row.failure_code === 'refresh_answer_lost' ||
    row.failure_code === 'rotation_answer_lost' ||
    row.failure_code === 'refresh_token_refused' ||
    row.failure_code === 'database_went_back'
  const what = row.attempt_kind === 'rotate' ? 'rotation' : 'refresh'
  const detail = `A ${what} was sent at ${row.attempt_sent_at.toISOString()}, and the process ended before the answer was saved.`
  return {
    unanswered_since: row.attempt_sent_at,
    failing_since: row.failing_since ?? row.attempt_sent_at,
    failure_code: keepsCause ? row.failure_code : `${what}_answer_lost`,
    failure_detail: keepsCause ? row.failure_detail : detail,
  }
}
