import type { Logger } from 'pino'
import { addSeconds, startOfSecond } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { ConnectionRow } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { inspectOAuthToken } from '../gitlab/inspect-token.ts'
import type { TransportFailure } from '../gitlab/transport-failure.ts'
import type { GitLabAccess } from '../instances/gitlab-access.ts'
import { findInstance } from '../instances/queries.ts'
import type { OAuthClient, OAuthClients } from '../oauth-apps/oauth-clients.ts'
import { findOAuthApp } from '../oauth-apps/queries.ts'
import type { TokenAnswer, TokenSet } from '../oauth-apps/token-answer.ts'
import type { Forecast } from '../weather/forecast.ts'
import { withinBudget } from '../weather/within-budget.ts'
import type { Claim } from './claim.ts'
import type { ClaimableRow } from './claims/queries.ts'
import { createGate, type MarkSent, type SendingHistory } from './claims/sendings.ts'
import { afterDoubtCleared, decideSettlement, detectsReuse } from './doubt.ts'
import type { DatabaseHistory } from './history/watch-history.ts'
import { withKeptClaim } from './kept-claim.ts'
import { endAttempt, findConnection, releaseClaim, saveFailure } from './queries.ts'
import {
  afterFailure,
  asksAboutToken,
  backoffSeconds,
  type RefreshFailure,
  type RefreshOutcome,
  type RefreshReason,
} from './refresh-decision.ts'
import { toFailure } from './refresh-failure.ts'
import type { IssuedTokenSet } from './spool.ts'
import type { TokenSaver } from './token-saver.ts'

export type RefreshAttemptDeps = GitLabAccess & {
  logger: Logger
  oauthClients: OAuthClients
  tokenSaver: TokenSaver
  history: SendingHistory & Pick<DatabaseHistory, 'wentBackAt'>
  forecast: Pick<Forecast, 'budget' | 'incidents'>
}

type Deps = RefreshAttemptDeps & { markSent: MarkSent }

type Prepared = { oauthClient: OAuthClient; refreshToken: string }

/**
 * One attempt to refresh, under a claim:
 *
 * 1. A successor that this process still has on its disk is saved, and nothing is sent (the database went back).
 * 2. When an earlier request has no answer, the doubt is settled first where sending again could do harm.
 * 3. While many are refused, one is tried for all (weather/incidents.ts): the others wait.
 * 4. What is about to be sent is written down, then sent. Most claims have that in them.
 * 5. A token is saved before anything else happens. A failure is written down with what it tells.
 */
export const attemptRefresh = async (
  deps: Deps,
  claim: Claim,
  reason: RefreshReason,
): Promise<RefreshOutcome> => {
  const { db, logger, tokenSaver } = deps
  const { row, attemptId } = claim
  const log = logger.child({ connection_id: row.id, attempt_id: attemptId, token_version: row.token_version })
  let prepared: Prepared
  let sentAt: Date
  try {
    if (!tokenSaver.savedLast(row) && (await tokenSaver.offerSuccessor(row))) return { kind: 'newer_version' }
    const ready = await prepare(deps, row)
    const held = await holdBack(deps, claim)
    if (held) return held
    // It may ask GitLab, which may be slow.
    const settled = await withKeptClaim(deps, claim, () => settleDoubt(deps, claim, ready))
    if (settled) return settled
    prepared = ready
    const marked = await markBeforeSending(deps, claim)
    // Another writer has the claim by now.
    if (!marked) return { kind: 'read_again' }
    sentAt = marked
  } catch (error) {
    // Nothing was sent: give the claim back, so that no other writer waits for its end.
    await releaseClaim(db, row.id, attemptId).catch(() => undefined)
    throw error
  }

  log.info({ reason }, 'sending a refresh')
  const answer = await withKeptClaim(deps, claim, () => send(deps, row, prepared))
  if (answer.kind === 'not_sent') {
    await releaseClaim(db, row.id, attemptId).catch(() => undefined)
    log.warn({ reason, answer: answer.kind }, 'refresh failed')
    throw answer.problem
  }
  if (answer.kind === 'issued') {
    const issued = toIssued(answer.tokenSet, prepared.refreshToken, row, startOfSecond(sentAt))
    const saved = await tokenSaver.save(issued)
    deps.forecast.incidents.noteIssued(appOf(row), row.id)
    if (saved === 'kept') throw new Problem('database_unavailable', undefined, { retryAfterSeconds: 5 })
    log.info({ reason, saved }, 'refreshed')
    return { kind: 'newer_version' }
  }
  const failure = toFailure(answer)
  const outcome = await writeFailure(deps, claim, failure, sentAt)
  log.warn({ reason, code: failure.code, answer: answer.kind, outcome: outcome.kind }, 'refresh failed')
  return outcome
}

/** What was marked longer ago is marked anew: its writer was held up, and another may have the claim by now. */
const MARK_HOLDS_MS = 2_000

/** @returns when the refresh is sent, as the row says; undefined = another writer has the claim by now. */
const markBeforeSending = async (
  { db, clock, markSent }: Pick<Deps, 'db' | 'clock' | 'markSent'>,
  { row, attemptId, sentAt }: Claim,
): Promise<Date | undefined> => {
  const now = new Date(clock())
  if (sentAt && now.getTime() - sentAt.getTime() < MARK_HOLDS_MS) return sentAt
  if (await markSent({ connectionId: row.id, attemptId, sentAt: now })) return now
  // Nothing was sent: what was marked with the claim is to leave no doubt.
  if (sentAt) await releaseClaim(db, row.id, attemptId)
  return undefined
}

const NOT_NOW_SECONDS = 2

const appOf = ({ oauth_app_id, oauth_app_version }: ClaimableRow) => ({
  id: oauth_app_id!,
  version: oauth_app_version!,
})

/** Sends the refresh when its turn comes, unless by then too much is refused, or the database may have gone back. */
const send = async (
  { forecast: { budget, incidents }, history }: RefreshAttemptDeps,
  row: ClaimableRow,
  { oauthClient, refreshToken }: Prepared,
): Promise<TokenAnswer | { kind: 'not_sent'; problem: unknown }> => {
  let entered = false
  const gate = createGate(history, row.id)
  const turnAway = (): TransportFailure | undefined => {
    const closed = gate.turnAway()
    if (closed) return closed
    entered =
      incidents.hold(row, row.oauth_app_version ?? undefined) === undefined && budget.enter(row.instance_id)
    return entered
      ? undefined
      : { kind: 'failure', reason: 'overloaded', mayHaveActed: false, retryAfterSeconds: NOT_NOW_SECONDS }
  }
  try {
    const answer = await oauthClient.refresh(refreshToken, { turnAway })
    return gate.problem() ? { kind: 'not_sent', problem: gate.problem() } : answer
  } finally {
    if (entered) budget.leave(row.instance_id)
  }
}

/** @returns the outcome when another connection is tried for this one, or the budget of refusals is spent. */
const holdBack = async (
  { db, clock, forecast }: RefreshAttemptDeps,
  { row, attemptId }: Claim,
): Promise<RefreshOutcome | undefined> => {
  const hold = await forecast.incidents.confirmHold(row, row.oauth_app_version ?? undefined)
  if (!hold) return undefined
  const now = new Date(clock())
  await endAttempt(db, row.id, attemptId, {
    retry_after: hold.until,
    failing_since: row.failing_since ?? now,
    updated_at: now,
  })
  return { kind: 'failing', code: hold.cause, until: hold.until }
}

/** The client is kept in memory for as long as app and instance have the versions that the claim read. */
const prepare = async (
  { db, vault, oauthClients }: RefreshAttemptDeps,
  row: ClaimableRow,
): Promise<Prepared> => {
  const { oauth_app_id, oauth_app_version, instance_version } = row
  const known = await oauthClients.known(oauth_app_id!, oauth_app_version!, instance_version)
  const oauthClient = known ?? (await loadClient(db, oauthClients, row))
  const refreshToken = await vault.open(row.refresh_token!, {
    ownerId: row.id,
    version: row.token_version,
    use: 'refresh',
  })
  return { oauthClient, refreshToken }
}

const loadClient = async (
  db: Database,
  oauthClients: OAuthClients,
  { oauth_app_id, instance_id }: ConnectionRow,
): Promise<OAuthClient> => {
  const app = await findOAuthApp(db, oauth_app_id!)
  const instance = await findInstance(db, instance_id)
  if (!app || !instance) throw new Error('The OAuth app or the instance of the connection is gone')
  return oauthClients.for(app, instance)
}

/** When the database went back, if the token of the row was issued before. */
const wentBackAfter = (
  { history }: RefreshAttemptDeps,
  { token_issued_at }: ConnectionRow,
): Date | undefined => {
  const at = history.wentBackAt()
  return at !== undefined && token_issued_at < at ? at : undefined
}

/** @returns the outcome when nothing may be sent now; undefined when the refresh may be sent. */
const settleDoubt = async (
  deps: RefreshAttemptDeps,
  { row, attemptId }: Claim,
  { refreshToken }: Prepared,
): Promise<RefreshOutcome | undefined> => {
  const { db, clock } = deps
  const now = new Date(clock())
  const state = { ...row, detectsReuse: detectsReuse(refreshToken), wentBackAt: wentBackAfter(deps, row) }
  const settlement = decideSettlement(state, now)
  if (settlement.action === 'send') return undefined
  if (settlement.action === 'wait') {
    await endAttempt(db, row.id, attemptId, { retry_after: settlement.until, updated_at: now })
    return { kind: 'failing', code: 'refresh_answer_lost', until: settlement.until }
  }
  if ((await isTokenAlive(deps, row)) !== true) return undefined
  const until = addSeconds(now, backoffSeconds(row.failure_count))
  await endAttempt(db, row.id, attemptId, { ...afterDoubtCleared(row), retry_after: until, updated_at: now })
  return { kind: 'failing', code: 'gitlab_unavailable', until }
}

const writeFailure = async (
  deps: RefreshAttemptDeps,
  { row, attemptId }: Claim,
  failure: RefreshFailure,
  sentAt: Date,
): Promise<RefreshOutcome> => {
  const { db, clock, tokenSaver } = deps
  const { budget, incidents } = deps.forecast
  const { code: cause } = failure
  const part =
    cause === 'refresh_token_refused' || cause === 'oauth_app_rejected'
      ? await incidents.noteRefused({
          instanceId: row.instance_id,
          app: appOf(row),
          connectionId: row.id,
          cause,
        })
      : undefined
  const isForOneself = part === undefined || part === 'canary'
  // What has expired is dead: GitLab's answer would be one more refusal.
  const hasExpired = row.token_expires_at !== null && row.token_expires_at.getTime() <= clock()
  const mayAsk =
    part !== 'told' && !hasExpired && (isForOneself || budget.hasRoomForDoubtful(row.instance_id))
  const tokenAlive = asksAboutToken(failure) && mayAsk ? await isTokenAlive(deps, row) : undefined
  // Another process may have had the successor, and saved or offered it meanwhile.
  if (failure.code === 'refresh_token_refused' && (await tokenSaver.offerSuccessor(row)))
    return { kind: 'newer_version' }
  const now = new Date(clock())
  const wentBack = wentBackAfter(deps, row) !== undefined
  const after = afterFailure(row, failure, { tokenAlive, sentAt, wentBack, now, part })
  await saveFailure(db, row.id, attemptId, after, now)
  if (after.status !== 'active' && part === 'canary') await incidents.noteTold(appOf(row))
  if (after.status !== 'active') return { kind: 'read_again' }
  // Another writer may have moved the version meanwhile: then this failure is not the connection's.
  const current = await findConnection(db, row.id)
  if (!current) return { kind: 'read_again' }
  if (current.token_version > row.token_version) return { kind: 'newer_version' }
  return { kind: 'failing', code: failure.code, until: after.retry_after }
}

/** An answer without a refresh token or scope leaves those as they were (RFC 6749, sections 5.1 and 6). */
const toIssued = (
  tokenSet: TokenSet,
  refreshToken: string,
  row: ConnectionRow,
  issuedAt: Date,
): IssuedTokenSet => ({
  connectionId: row.id,
  grantId: row.grant_id ?? row.id,
  tokenVersion: row.token_version + 1,
  issuedAt,
  expiresAt: tokenSet.expiresIn === null ? null : addSeconds(issuedAt, tokenSet.expiresIn),
  accessToken: tokenSet.accessToken,
  refreshToken: tokenSet.refreshToken ?? refreshToken,
  scopes: tokenSet.scopes.length > 0 ? tokenSet.scopes : row.scopes,
})

/** undefined = GitLab did not say. */
const isTokenAlive = async (
  { db, vault, instanceClients, clock, forecast }: RefreshAttemptDeps,
  row: ConnectionRow,
): Promise<boolean | undefined> => {
  const instance = await findInstance(db, row.instance_id)
  if (!instance) return undefined
  const token = await vault.open(row.access_token, {
    ownerId: row.id,
    version: row.token_version,
    use: 'access',
  })
  const client = withinBudget(instanceClients.for(instance), instance.id, forecast.budget)
  const inspection = await inspectOAuthToken(client, token, new Date(clock()))
  if (inspection.valid) return true
  const { code } = inspection.refusal
  return code === 'token_unknown' || code === 'token_expired' || code === 'token_revoked' ? false : undefined
}
