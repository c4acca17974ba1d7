import { addSeconds } from '../clock/clock.ts'
import type { ConnectionRow } from '../db/tables.ts'
import { type ErrorAnswer, readError } from '../gitlab/answers.ts'
import type { GitLabResult } from '../gitlab/http-client.ts'
import { policyOf, shownSentence } from '../gitlab/owner-refusal.ts'
import { refusalOf } from '../gitlab/refusal.ts'

/** Why GitLab did not rotate a token, and when it may be asked again. Pure: no I/O, the time is passed in. */

export type RotationRefusal = {
  code: 'rotation_refused' | 'missing_scopes' | 'fine_grained_required' | 'gitlab_unavailable'
  detail: string
  /** permanent: only another token or another setting at GitLab helps. */
  lasts: 'permanent' | 'long' | 'short'
}

const REFUSED = 'GitLab did not rotate the token: its settings or the expiry date do not allow it.'
const HOUR_SECONDS = 3_600
const LONGEST_PAUSE_SECONDS = 24 * HOUR_SECONDS
/** For ever, until the token is replaced or somebody rotates it by hand. */
const PERMANENT_SECONDS = 365 * 86_400

const sentenceOf = ({ message, description }: ErrorAnswer): string =>
  shownSentence((message || description).replace(/^\d{3} [A-Z][\w ]* - /, ''))

/** The last date that GitLab allows, when it refused a later one: YYYY-MM-DD. It did not rotate. */
export const latestDateOf = (answer: GitLabResult): string | undefined => {
  if (answer.kind === 'failure' || (answer.status !== 400 && answer.status !== 422)) return undefined
  const { message = '' } = readError(answer.body) ?? {}
  const [, date] = /must be (?:on or )?before (\d{4}-\d{2}-\d{2})\b/i.exec(message) ?? []
  return date !== undefined && !Number.isNaN(Date.parse(date)) ? date : undefined
}

/** @param answer that did not rotate the token, and says so */
export const rotationRefusalOf = (answer: GitLabResult, baseUrl: string): RotationRefusal => {
  const refusal = refusalOf(answer, baseUrl)
  if (refusal?.code === 'missing_scopes' || refusal?.code === 'fine_grained_required')
    return {
      code: refusal.code,
      detail: refusal.detail,
      lasts: refusal.code === 'fine_grained_required' ? 'permanent' : 'long',
    }
  const error = answer.kind === 'answer' ? readError(answer.body) : undefined
  if (refusal || !error || answer.kind === 'failure')
    return { code: 'gitlab_unavailable', detail: refusal?.detail ?? REFUSED, lasts: 'short' }
  const sentence = sentenceOf(error)
  if (answer.status === 400 && policyOf(sentence) === 'fine_grained_required')
    return {
      code: 'fine_grained_required',
      detail: `GitLab does not rotate this token: ${sentence}`,
      lasts: 'permanent',
    }
  if (answer.status === 403)
    return {
      code: 'missing_scopes',
      detail: `The owner or the token lacks a right to rotate it. GitLab says: ${sentence}`,
      lasts: 'long',
    }
  return {
    code: 'rotation_refused',
    detail: sentence === '' ? REFUSED : `GitLab did not rotate the token: ${sentence}`,
    lasts: 'long',
  }
}

/** What is written of a rotation that GitLab refused: each token is asked about again by its own time. */
export const afterRotationRefusal = (
  { rotation_failures }: Pick<ConnectionRow, 'rotation_failures'>,
  { code, detail, lasts }: RotationRefusal,
  now: Date,
) => {
  const doubled = HOUR_SECONDS * 2 ** Math.min(rotation_failures, 10)
  const seconds = {
    permanent: PERMANENT_SECONDS,
    long: Math.min(LONGEST_PAUSE_SECONDS, 4 * doubled),
    short: Math.min(LONGEST_PAUSE_SECONDS / 4, doubled),
  }[lasts]
  const tells = lasts !== 'short'
  return {
    rotate_after: addSeconds(now, seconds),
    rotation_failures: rotation_failures + 1,
    ...(tells ? { rotation_failure_code: code, rotation_failure_detail: detail } : {}),
    updated_at: now,
  }
}
