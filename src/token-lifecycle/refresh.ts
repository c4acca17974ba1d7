import type { Logger } from 'pino'
import { addSeconds, startOfSecond } from '../clock/clock.ts'
import { startPatience } from '../clock/patience.ts'
import type { ConnectionRow, InstanceRow, OAuthAppRow } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { inspectOAuthToken } from '../gitlab/inspect-token.ts'
import type { GitLabAccess } from '../instances/gitlab-access.ts'
import { findInstance } from '../instances/queries.ts'
import type { OAuthClient, OAuthClients } from '../oauth-apps/oauth-clients.ts'
import { findOAuthApp } from '../oauth-apps/queries.ts'
import type { TokenAnswer, TokenSet } from '../oauth-apps/token-answer.ts'
import { type Claim, claimIf } from './claim.ts'
import { findConnection, markAttemptSent, releaseClaim, saveFailure } from './queries.ts'
import {
  afterFailure,
  decideRefresh,
  type FailureCode,
  isRefreshable,
  type RefreshDecision,
  type RefreshFailure,
  type RefreshReason,
  type RefreshRequest,
} from './refresh-decision.ts'
import type { IssuedTokenSet } from './spool.ts'
import type { TokenSaver } from './token-saver.ts'

export type RefreshOutcome =
  /** There is a newer version than the one that was to be replaced. */
  | { kind: 'newer_version' }
  | { kind: 'in_use'; until: Date }
  | { kind: 'failing'; code: FailureCode; until: Date }
  /** No longer active, not refreshable, or deleted: read the connection again. */
  | { kind: 'read_again' }

export type Refresher = {
  /**
   * Replaces a token version, once: calls in this process share one attempt, and a claim in the row keeps other
   * replicas out. No database connection is held while GitLab is asked.
   */
  refresh(connectionId: string, request: RefreshRequest): Promise<RefreshOutcome>
  /** Resolves when the attempts under way have ended and their results are kept. */
  idle(): Promise<void>
}

type Deps = GitLabAccess & { logger: Logger; oauthClients: OAuthClients; tokenSaver: TokenSaver }

export const createRefresher = (deps: Deps): Refresher => {
  const underWay = new Map<string, Promise<RefreshOutcome>>()

  const refreshOnce = async (connectionId: string, request: RefreshRequest): Promise<RefreshOutcome> => {
    const patience = startPatience()
    for (;;) {
      const result = await claimRefresh(deps, connectionId, request)
      if (!result) return { kind: 'read_again' }
      if ('claim' in result) return attempt(deps, result.claim, request.reason)
      const { decision } = result
      if (decision.action === 'stop') return toOutcome(decision)
      if (patience.isOver()) {
        return { kind: 'failing', code: 'gitlab_unavailable', until: decision.until }
      }
      await patience.pause()
    }
  }

  return {
    refresh(connectionId, request) {
      // The answer to a caller that respects leases is not enough for one that preempts them.
      const key = `${connectionId} ${request.onConflict}`
      const joined = underWay.get(key)
      if (joined) return joined
      const started = refreshOnce(connectionId, request).finally(() => underWay.delete(key))
      underWay.set(key, started)
      return started
    },
    async idle() {
      while (underWay.size > 0) await Promise.allSettled(underWay.values())
    },
  } satisfies Refresher
}

const toOutcome = (decision: Extract<Stopped, { action: 'stop' }>): RefreshOutcome => {
  switch (decision.reason) {
    case 'newer_version':
      return { kind: 'newer_version' }
    case 'in_use':
      return { kind: 'in_use', until: decision.until }
    case 'backing_off':
      return { kind: 'failing', code: decision.failureCode ?? 'gitlab_unavailable', until: decision.until }
    default:
      return { kind: 'read_again' }
  }
}

type Stopped = Exclude<RefreshDecision, { action: 'claim' }> & { failureCode: FailureCode | null }

const claimRefresh = (deps: Deps, connectionId: string, request: RefreshRequest) =>
  claimIf<Stopped>(deps, connectionId, 'refresh', ({ row, leasedUntil, now }) => {
    const decision = decideRefresh({ ...row, refreshable: isRefreshable(row), leasedUntil }, request, now)
    if (decision.action === 'claim') return 'claim'
    return { ...decision, failureCode: row.failure_code as FailureCode | null }
  })

const attempt = async (
  deps: Deps,
  { row, attemptId }: Claim,
  reason: RefreshReason,
): Promise<RefreshOutcome> => {
  const { db, vault, clock, logger, tokenSaver } = deps
  const log = logger.child({ connection_id: row.id, attempt_id: attemptId, token_version: row.token_version })
  let app: OAuthAppRow | undefined
  let instance: InstanceRow | undefined
  let refreshToken: string
  const sentAt = new Date(clock())
  let oauthClient: OAuthClient
  try {
    app = await findOAuthApp(db, row.oauth_app_id!)
    instance = await findInstance(db, row.instance_id)
    if (!app || !instance) throw new Error('The OAuth app or the instance of the connection is gone')
    oauthClient = await deps.oauthClients.for(app, instance)
    refreshToken = await vault.open(row.refresh_token!, {
      ownerId: row.id,
      version: row.token_version,
      use: 'refresh',
    })
    if (!(await markAttemptSent(db, row.id, attemptId, sentAt))) return { kind: 'newer_version' }
    log.info({ reason }, 'sending a refresh')
  } catch (error) {
    // Nothing was sent: give the claim back, so that nobody has to wait for its end.
    await releaseClaim(db, row.id, attemptId).catch(() => undefined)
    throw error
  }

  const answer = await oauthClient.refresh(refreshToken)
  if (answer.kind === 'issued') {
    const saved = await tokenSaver.save(toIssued(answer.tokenSet, refreshToken, row, startOfSecond(sentAt)))
    if (saved === 'kept') throw new Problem('database_unavailable', undefined, { retryAfterSeconds: 5 })
    log.info({ saved }, 'refreshed')
    return { kind: 'newer_version' }
  }

  const failure = toFailure(answer)
  const tokenAlive = failure.askAboutToken ? await isTokenAlive(deps, row, instance) : undefined
  const now = new Date(clock())
  const after = afterFailure(row, failure, tokenAlive, now)
  await saveFailure(db, row.id, attemptId, after, now)
  log.warn(
    { code: failure.code, answer: answer.kind, token_alive: tokenAlive, status: after.status },
    'refresh failed',
  )
  if (after.status !== 'active') return { kind: 'read_again' }
  // Somebody else may have moved the version meanwhile: then our failure is not the connection's.
  const current = await findConnection(db, row.id)
  if (!current || current.token_version > row.token_version) return { kind: 'newer_version' }
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
  tokenVersion: row.token_version + 1,
  issuedAt,
  expiresAt: tokenSet.expiresIn === null ? null : addSeconds(issuedAt, tokenSet.expiresIn),
  accessToken: tokenSet.accessToken,
  refreshToken: tokenSet.refreshToken ?? refreshToken,
  scopes: tokenSet.scopes.length > 0 ? tokenSet.scopes : row.scopes,
})

type Failure = RefreshFailure & { askAboutToken: boolean }

const toFailure = (answer: Exclude<TokenAnswer, { kind: 'issued' }>): Failure => {
  const unavailable = (
    detail: string,
    mayHaveActed: boolean,
    retryAfterSeconds?: number | undefined,
  ): Failure => ({
    code: mayHaveActed ? 'refresh_answer_lost' : 'gitlab_unavailable',
    detail,
    mayHaveActed,
    retryAfterSeconds,
    askAboutToken: mayHaveActed,
  })
  switch (answer.kind) {
    case 'rate_limited':
      return unavailable('GitLab limits how often it may be asked.', false, answer.retryAfterSeconds)
    case 'server_error': {
      const failure = unavailable(
        `GitLab answered a refresh with ${answer.status}.`,
        answer.status !== 503,
        answer.retryAfterSeconds,
      )
      // 504: a proxy in front of GitLab had waited long enough; it is a timeout, too.
      return { ...failure, askAboutToken: failure.askAboutToken && answer.status !== 504 }
    }
    case 'unreadable':
      return unavailable(
        'GitLab answered a refresh with something that is no token.',
        (answer.status ?? 200) < 400,
      )
    case 'failure': {
      const failure = unavailable(
        `GitLab gave no answer to a refresh (${answer.reason}).`,
        answer.mayHaveActed,
        answer.retryAfterSeconds,
      )
      // After a timeout GitLab may still be at it: what it says of the token now may be wrong in a moment.
      return { ...failure, askAboutToken: answer.mayHaveActed && answer.reason !== 'timeout' }
    }
    case 'invalid_state':
      throw new Error('A refresh has no state')
    case 'refused':
      if (answer.error === 'invalid_grant') {
        return {
          code: 'refresh_token_refused',
          detail:
            'GitLab refuses the refresh token: the authorization was revoked, or the token was used elsewhere.',
          mayHaveActed: false,
          askAboutToken: true,
        }
      }
      return {
        code: 'oauth_app_rejected',
        detail: `GitLab rejects the OAuth app (${answer.error}): an admin has to correct its client id or secret.`,
        mayHaveActed: false,
        askAboutToken: false,
      }
  }
}

/** undefined = GitLab did not say. */
const isTokenAlive = async (
  { vault, instanceClients, clock }: Deps,
  row: ConnectionRow,
  instance: InstanceRow,
): Promise<boolean | undefined> => {
  const token = await vault.open(row.access_token, {
    ownerId: row.id,
    version: row.token_version,
    use: 'access',
  })
  const inspection = await inspectOAuthToken(instanceClients.for(instance), token, new Date(clock()))
  if (inspection.valid) return true
  const { code } = inspection.refusal
  return code === 'token_unknown' || code === 'token_expired' || code === 'token_revoked' ? false : undefined
}
