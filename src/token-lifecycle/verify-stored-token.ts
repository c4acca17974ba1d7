import { setTimeout as pause } from 'node:timers/promises'
import { addSeconds } from '../clock/clock.ts'
import { type Patience, startPatience } from '../clock/patience.ts'
import type { ConnectionRow, ConnectionStatus } from '../db/tables.ts'
import { notFound } from '../errors/problem.ts'
import { type Inspection, inspectStoredToken } from '../gitlab/inspect-token.ts'
import { isWaitingCode } from '../gitlab/owner-refusal.ts'
import { atKnownGitLab, type Refusal } from '../gitlab/refusal.ts'
import type { GitLabAccess } from '../instances/gitlab-access.ts'
import { findInstance } from '../instances/queries.ts'
import { followRenames } from '../places/follow-renames.ts'
import type { Forecast } from '../weather/forecast.ts'
import { withinBudget } from '../weather/within-budget.ts'
import type { Attempts } from './attempts.ts'
import { afterAbandonedAttempt, DOUBT_SECONDS, mayStillAct } from './doubt.ts'
import { findConnection, NO_ATTEMPT, saveVerification } from './queries.ts'
import { isRefreshable } from './refresh-decision.ts'

/**
 * What GitLab said of the stored token. `unknown`: it could not be asked, it has not answered yet, or the token changed
 * meanwhile.
 */
export type StoredTokenVerdict = {
  /** undefined = GitLab has not answered yet. */
  tokenVersion: number | undefined
} & Verdict

type Verdict =
  | { kind: 'works' }
  | { kind: 'dead'; refusal: Refusal }
  | { kind: 'unknown'; refusal: Refusal | undefined }

type Change = { status: ConnectionStatus; status_reason: string | null; status_detail: string | null }

/** Codes with which GitLab tells that the token itself no longer works. */
const DEAD: ReadonlySet<string> = new Set(['token_unknown', 'token_expired', 'token_revoked'])
/**
 * Pause before the second question about an OAuth token. GitLab's newer auth service refuses good tokens while it cannot
 * ask whether they were revoked, and a refresh breaks every scan that has the token.
 */
export const SECOND_LOOK_MS = 2_000
/** While the owner is refused, GitLab is asked again after this time, and then after longer. */
const FIRST_CHECK_SECONDS = 60
const LONGEST_CHECK_SECONDS = 900

export type StoredTokenVerifier = {
  /**
   * Calls for the same connection at the same time share one question to GitLab. The caller waits for as long as it has
   * patience; what GitLab says later is written down all the same.
   * @throws {Problem} not_found
   */
  verify(connectionId: string, patience?: Patience): Promise<StoredTokenVerdict>
}

type VerifyDeps = GitLabAccess & {
  forecast: Pick<Forecast, 'budget' | 'incidents'>
  /** SECOND_LOOK_MS when left out. */
  secondLookMs?: number | undefined
}

export const createStoredTokenVerifier = ({
  attempts,
  ...deps
}: VerifyDeps & { attempts: Attempts }): StoredTokenVerifier => ({
  async verify(connectionId, patience = startPatience()) {
    const start = () => verifyStoredToken(deps, connectionId)
    const verdict = await attempts.run(`verify ${connectionId}`, start, patience)
    return verdict ?? { tokenVersion: undefined, kind: 'unknown', refusal: NO_ANSWER_YET }
  },
})

const NO_ANSWER_YET: Refusal = {
  code: 'gitlab_unavailable',
  detail: 'GitLab has not answered yet.',
  retryAfterSeconds: 5,
}

/**
 * Asks GitLab about the stored token now, and writes down what it says: a working token clears every doubt; a dead
 * one that cannot be refreshed ends the connection, with the first cause. A dead one that can be refreshed is not
 * handed out until then. Only the refresh shows whether the connection has ended. While GitLab refuses the owner, the
 * connection waits for the owner and is checked again.
 */
const verifyStoredToken = async (
  { db, vault, clock, instanceClients, forecast, secondLookMs = SECOND_LOOK_MS }: VerifyDeps,
  connectionId: string,
): Promise<StoredTokenVerdict> => {
  const found = await findConnection(db, connectionId)
  const instance = found && (await findInstance(db, found.instance_id))
  if (!found || !instance) throw notFound('connection')
  const row = { ...found, ...afterAbandonedAttempt(found) }
  const token = await vault.open(row.access_token, {
    ownerId: row.id,
    version: row.token_version,
    use: 'access',
  })
  const client = withinBudget(instanceClients.for(instance), instance.id, forecast.budget)
  const inspect = () => inspectStoredToken(client, token, row.token_kind, new Date(clock()))
  let inspection = await inspect()
  if (wantsSecondLook(row, inspection, new Date(clock()))) {
    await pause(secondLookMs, undefined, { ref: false })
    inspection = await inspect()
  }
  const now = new Date(clock())
  const verdict = toVerdict(inspection, row, now)
  const isSpent = verdict.kind === 'unknown' && !forecast.budget.hasRoom(instance.id)
  const changes = toChanges(row, inspection, verdict, now) ?? (isSpent ? askLater(row, now) : undefined)
  if (verdict.kind === 'dead' && row.method === 'token' && DEAD.has(verdict.refusal.code)) {
    const refused = { instanceId: instance.id, app: undefined, connectionId: row.id }
    await forecast.incidents.noteRefused({ ...refused, cause: 'token_refused' })
  }
  const isOurs = changes === undefined || (await saveVerification(db, found, changes, now))
  if (isOurs && verdict.kind === 'works' && inspection.valid)
    await followRenames(db, client, {
      row,
      token,
      tokenVersion: row.token_version,
      scopes: inspection.facts.scopes,
      now,
    })
  return {
    tokenVersion: row.token_version,
    ...(isOurs ? verdict : { kind: 'unknown', refusal: undefined }),
  }
}

const NOT_NOW_SECONDS = 60

/** Somebody doubts the token, and GitLab cannot be asked now: upkeep asks later. */
const askLater = (row: ConnectionRow, now: Date) =>
  row.status !== 'active' || isRefreshable(row)
    ? undefined
    : {
        failing_since: row.failing_since ?? now,
        retry_after: addSeconds(now, NOT_NOW_SECONDS),
        updated_at: now,
      }

/** One 401 proves nothing of an OAuth token, unless its time is over. */
const wantsSecondLook = (row: ConnectionRow, inspection: Inspection, now: Date): boolean =>
  row.method === 'oauth' &&
  !inspection.valid &&
  (inspection.refusal.code === 'token_unknown' || inspection.refusal.code === 'token_revoked') &&
  (row.token_expires_at === null || row.token_expires_at > now)

/** A rotation has no answer, and GitLab may still act on it: that the old token works now proves nothing. */
export const STILL_IN_DOUBT: Refusal = {
  code: 'gitlab_unavailable',
  detail: 'GitLab may still be working on a rotation of this token.',
  retryAfterSeconds: DOUBT_SECONDS,
}

const toVerdict = (inspection: Inspection, row: ConnectionRow, now: Date): Verdict => {
  if (!inspection.valid) {
    const { refusal } = inspection
    return DEAD.has(refusal.code) || isWaitingCode(refusal.code)
      ? { kind: 'dead', refusal }
      : { kind: 'unknown', refusal: atKnownGitLab(refusal) }
  }
  if (inspection.facts.user.id === row.gitlab_user_id) {
    return !isRefreshable(row) && mayStillAct(row.unanswered_since, now)
      ? { kind: 'unknown', refusal: STILL_IN_DOUBT }
      : { kind: 'works' }
  }
  const detail = 'GitLab says that this token belongs to another account.'
  return { kind: 'dead', refusal: { code: 'token_unknown', detail } }
}

const toChanges = (
  row: ConnectionRow,
  inspection: Inspection,
  verdict: Verdict,
  now: Date,
): (Partial<ConnectionRow> & { updated_at: Date }) | undefined => {
  const isWaiting = isWaitingCode(row.status_reason)
  const refused = verdict.kind === 'dead' && isWaitingCode(verdict.refusal.code) ? verdict.refusal : undefined
  if (refused && (row.status === 'active' || (isWaiting && row.status_reason !== refused.code)))
    return waitForOwner(row, refused, now)
  if (verdict.kind !== 'works' && isWaiting) return checkAgain(row, now)
  if (refused) return undefined
  if (verdict.kind === 'unknown') return undefined
  if (verdict.kind === 'works' && inspection.valid) {
    const { scopes, user, expiresAt } = inspection.facts
    // For a refreshable one the time was set by the answer that issued it: more exact than what is asked later.
    const expiry = isRefreshable(row) ? {} : { token_expires_at: expiresAt }
    // Only what the token's own death had ended comes back: a refused refresh token is not mended by this.
    const mended = isWaiting ? { ...ACTIVE, ...CHECKED } : ACTIVE
    const revived = isRefreshable(row) && row.status !== 'active' && !isWaiting ? {} : mended
    const names = user.username === null ? {} : { gitlab_username: user.username, gitlab_name: user.name }
    // A refresh without an answer may still be carried out at GitLab: only another refresh clears that doubt.
    const cleared = isRefreshable(row) ? {} : SETTLED
    return { last_verified_at: now, updated_at: now, scopes, ...expiry, ...names, ...revived, ...cleared }
  }
  if (verdict.kind === 'works' || row.status !== 'active') return undefined
  if (isRefreshable(row)) {
    return {
      unanswered_since: row.unanswered_since ?? now,
      failing_since: row.failing_since ?? now,
      updated_at: now,
    }
  }
  return { ...endOf(row, verdict.refusal), ...SETTLED, updated_at: now }
}

const SETTLED = {
  ...NO_ATTEMPT,
  unanswered_since: null,
  retry_after: null,
  failing_since: null,
  failure_code: null,
  failure_detail: null,
} as const

/** The owner is refused no longer. */
const CHECKED = {
  retry_after: null,
  failing_since: null,
  failure_count: 0,
  failure_code: null,
  failure_detail: null,
} as const

/** The token is not handed out, and GitLab is asked again soon: most owners put it right within minutes. */
const waitForOwner = (row: ConnectionRow, { code, detail }: Refusal, now: Date) => ({
  status: 'needs_reauthorization' as const,
  status_reason: code,
  status_detail: detail,
  ...checkAgain({ ...row, failure_count: row.status === 'active' ? 0 : row.failure_count }, now),
})

const checkAgain = (row: ConnectionRow, now: Date) => ({
  failing_since: row.failing_since ?? now,
  failure_count: row.failure_count + 1,
  retry_after: addSeconds(
    now,
    Math.min(LONGEST_CHECK_SECONDS, FIRST_CHECK_SECONDS * 2 ** Math.min(row.failure_count, 10)),
  ),
  updated_at: now,
})

const ACTIVE: Change = { status: 'active', status_reason: null, status_detail: null }

const endOf = (row: ConnectionRow, { code, detail }: Refusal): Change => {
  // A rotation without an answer did happen: its new token reached nobody.
  if (row.unanswered_since !== null && code !== 'token_expired') {
    return {
      status: 'needs_reauthorization',
      status_reason: row.failure_code ?? 'rotation_answer_lost',
      status_detail: row.failure_detail ?? 'GitLab rotated the token, and its answer was lost.',
    }
  }
  if (code === 'token_expired') return { status: 'expired', status_reason: code, status_detail: detail }
  return { status: 'revoked', status_reason: code, status_detail: detail }
}
