import type { Logger } from 'pino'
import { addSeconds } from '../clock/clock.ts'
import { startPatience } from '../clock/patience.ts'
import type { Database } from '../db/database.ts'
import type { ConnectionRow, InstanceRow } from '../db/tables.ts'
import { notFound, Problem } from '../errors/problem.ts'
import type { GitLabResult } from '../gitlab/http-client.ts'
import { inspectToken } from '../gitlab/inspect-token.ts'
import { isToken, readEndDate, readScopes } from '../gitlab/issued.ts'
import { atKnownGitLab, refusalOf, refusalProblem } from '../gitlab/refusal.ts'
import { mayRotateItself, missingScopesProblem } from '../gitlab/scopes.ts'
import type { GitLabAccess } from '../instances/gitlab-access.ts'
import { findInstance } from '../instances/queries.ts'
import type { Vault } from '../vault/vault.ts'
import type { Attempts } from './attempts.ts'
import { type Claim, claimForPerson } from './claim.ts'
import { createGate, createMarkSent, type SendingHistory } from './claims/sendings.ts'
import { DOUBT_SECONDS } from './doubt.ts'
import { withKeptClaim } from './kept-claim.ts'
import { endAttempt, findConnection, findSiblings, releaseClaim, saveDoubt } from './queries.ts'
import { afterRotationRefusal, latestDateOf, rotationRefusalOf } from './rotation-refusal.ts'
import type { TokenSaver } from './token-saver.ts'

export type RotateDeps = GitLabAccess & {
  logger: Logger
  tokenSaver: TokenSaver
  attempts: Attempts
  history: SendingHistory
}

const DAY_SECONDS = 86_400
/** GitLab's default limit for the life of an access token. */
const LONGEST_LIFE_DAYS = 365
const SHORTEST_LIFE_DAYS = 7
const DEFAULT_LIFE_DAYS = 90

/** The end of the new token: as long a life as the old one had. Without a date GitLab would give it one week. */
export const nextExpiryDate = (
  row: Pick<ConnectionRow, 'token_issued_at' | 'token_expires_at'>,
  now: Date,
): string => {
  const { token_issued_at, token_expires_at } = row
  const lifeDays =
    token_expires_at === null
      ? DEFAULT_LIFE_DAYS
      : Math.round((token_expires_at.getTime() - token_issued_at.getTime()) / (DAY_SECONDS * 1000))
  const days = Math.min(LONGEST_LIFE_DAYS - 1, Math.max(SHORTEST_LIFE_DAYS, lifeDays))
  return addSeconds(now, days * DAY_SECONDS)
    .toISOString()
    .slice(0, 10)
}

/**
 * Rotates a personal, group or project access token at GitLab, once. Never retried: GitLab takes a second rotation
 * of the same token for theft, and revokes its successor. After an answer that leaves it open, the old token is asked
 * about once GitLab can no longer act: active = nothing happened; revoked = the new token is lost, and a person has to
 * make another. The caller waits for seconds, the attempt for minutes: a late answer is saved.
 * @param expiresOn YYYY-MM-DD; as long a life as before when left out.
 * @throws {Problem} not_found, wrong_token_kind, missing_scopes, token_in_use, needs_reauthorization,
 *   gitlab_unavailable and other refusals
 */
export const rotate = async (
  deps: RotateDeps,
  connectionId: string,
  expiresOn: string | undefined,
): Promise<void> => {
  const found = await findConnection(deps.db, connectionId)
  if (!found) throw notFound('connection')
  if (found.method === 'oauth') {
    throw new Problem('wrong_token_kind', 'An OAuth token is not rotated but refreshed: POST .../refresh.')
  }
  if (!mayRotateItself(found.scopes)) throw missingScopesProblem(['self_rotate'], 'to rotate itself')
  const claim = await claimForPerson(deps, connectionId, 'rotate', { drained: true })
  const attempt = async () => {
    await attemptRotation(deps, claim, expiresOn)
    return 'rotated' as const
  }
  const outcome = await deps.attempts.run(`rotate ${claim.attemptId}`, attempt, startPatience())
  if (outcome === undefined) throw pending()
}

const attemptRotation = async (
  deps: RotateDeps,
  claim: Claim,
  expiresOn: string | undefined,
): Promise<void> => {
  const { db, clock, instanceClients, tokenSaver } = deps
  const { row, attemptId } = claim
  const { instance, token } = await prepare(deps, claim).catch(async (error: unknown) => {
    await releaseClaim(db, row.id, attemptId).catch(() => undefined)
    throw error
  })
  const sentAt = new Date(clock())
  // A token that has a successor is not presented: GitLab would take it for theft.
  const gate = createGate(deps.history, row.id)
  const send = (expires_at: string) =>
    withKeptClaim(deps, claim, () =>
      instanceClients.for(instance).send({
        method: 'POST',
        path: '/api/v4/personal_access_tokens/self/rotate',
        token,
        json: { expires_at },
        issuesToken: true,
        turnAway: gate.turnAway,
      }),
    )
  let answer = await send(expiresOn ?? nextExpiryDate(row, sentAt))
  // The maximum was lowered. A refused rotation leaves the token as it is, so GitLab's own date is safe to ask for.
  const latest = expiresOn === undefined ? latestDateOf(answer) : undefined
  if (latest !== undefined && Date.parse(latest) > sentAt.getTime()) answer = await send(latest)
  if (gate.problem()) {
    await releaseClaim(db, row.id, attemptId).catch(() => undefined)
    throw gate.problem()
  }
  const rotated = readRotated(answer, row.scopes)
  if (!rotated) return settleUnrotated(deps, claim, instance, token, answer, sentAt)
  const saved = await tokenSaver.save({
    connectionId: row.id,
    grantId: row.grant_id ?? row.id,
    tokenVersion: row.token_version + 1,
    issuedAt: sentAt,
    expiresAt: rotated.expiresAt,
    accessToken: rotated.token,
    refreshToken: null,
    scopes: rotated.scopes,
  })
  if (saved === 'superseded' || saved === 'gone') {
    throw new Problem(
      'rotation_refused',
      'Somebody replaced the token while it was rotated; the replacement counts.',
    )
  }
  if (saved === 'kept')
    throw new Problem('database_unavailable', 'The new token is kept and will be saved.', {
      retryAfterSeconds: 5,
    })
}

const prepare = async ({ db, vault, clock, history }: RotateDeps, { row, attemptId }: Claim) => {
  if (row.status !== 'active' || row.unanswered_since !== null) {
    throw new Problem(
      'needs_reauthorization',
      row.status_detail ?? 'The token is in doubt: verify the connection first.',
    )
  }
  const instance = await findInstance(db, row.instance_id)
  if (!instance) throw notFound('instance')
  const token = await vault.open(row.access_token, {
    ownerId: row.id,
    version: row.token_version,
    use: 'access',
  })
  await requireSoleOwner(db, vault, row, token)
  const sending = { connectionId: row.id, attemptId, sentAt: new Date(clock()) }
  if (!(await createMarkSent({ db, history })(sending))) {
    throw new Problem('gitlab_unavailable', 'Another change of this token came first.', {
      retryAfterSeconds: 1,
    })
  }
  return { instance, token }
}

/** A token that two connections hold would be rotated by both: GitLab takes the second for theft, and revokes all. */
const requireSoleOwner = async (
  db: Database,
  vault: Vault,
  row: ConnectionRow,
  token: string,
): Promise<void> => {
  for (const { id, token_version, access_token } of await findSiblings(db, row)) {
    if ((await vault.open(access_token, { ownerId: id, version: token_version, use: 'access' })) === token) {
      throw new Problem(
        'rotation_refused',
        'Another connection holds the same token, and would lose it. Disconnect one of them.',
      )
    }
  }
}

type Rotated = { token: string; expiresAt: Date | null; scopes: string[] }

/** What GitLab issued is used even when the rest of its answer is nonsense. */
const readRotated = (answer: GitLabResult, scopesBefore: string[]): Rotated | undefined => {
  if (answer.kind === 'failure' || answer.status >= 300) return undefined
  const { token, expires_at, scopes } = (answer.body ?? {}) as Record<string, unknown>
  if (!isToken(token)) return undefined
  return { token, expiresAt: readEndDate(expires_at), scopes: readScopes(scopes) ?? scopesBefore }
}

const mayHaveRotated = (answer: GitLabResult): boolean =>
  answer.kind === 'failure'
    ? answer.mayHaveActed
    : answer.status < 300 || (answer.status >= 500 && answer.status !== 503)

const settleUnrotated = async (
  { db, clock, instanceClients }: RotateDeps,
  { row, attemptId }: Claim,
  instance: InstanceRow,
  token: string,
  answer: GitLabResult,
  sentAt: Date,
): Promise<never> => {
  if (!mayHaveRotated(answer)) {
    const now = new Date(clock())
    const refused = rotationRefusalOf(answer, instance.base_url)
    await endAttempt(db, row.id, attemptId, afterRotationRefusal(row, refused, now))
    const refusal = refusalOf(answer, instance.base_url)
    throw refusal ? refusalProblem(atKnownGitLab(refusal)) : new Problem(refused.code, refused.detail)
  }
  const detail = `GitLab gave no clear answer to a rotation at ${sentAt.toISOString()}.`
  const inspection = await inspectToken(instanceClients.for(instance), token, new Date(clock()))
  if (!inspection.valid && ['token_revoked', 'token_unknown'].includes(inspection.refusal.code)) {
    await endAttempt(db, row.id, attemptId, {
      status: 'needs_reauthorization',
      status_reason: 'rotation_answer_lost',
      status_detail: `${detail} The old token is revoked, and the new one reached nobody.`,
      updated_at: new Date(clock()),
    })
    throw new Problem(
      'needs_reauthorization',
      'GitLab rotated the token and its answer was lost: enter a new token.',
    )
  }
  // The old token may work now, and be dead in a moment: GitLab may still act.
  await saveDoubt(db, row.id, attemptId, { since: sentAt, code: 'rotation_answer_lost', detail })
  throw uncertain()
}

const uncertain = (): Problem =>
  new Problem(
    'gitlab_unavailable',
    'GitLab does not say whether it rotated the token; it is asked again before the token is handed out.',
    { retryAfterSeconds: DOUBT_SECONDS },
  )

const pending = (): Problem =>
  new Problem(
    'gitlab_unavailable',
    'GitLab has not answered yet. The rotation goes on, and a late answer is saved.',
    { retryAfterSeconds: 5 },
  )
