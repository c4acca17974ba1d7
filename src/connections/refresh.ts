import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { v7 as uuidv7 } from 'uuid'
import { addSeconds, type Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { ConnectionRow, InstanceRow, OAuthAppRow } from '../db/tables.ts'
import { inspectOAuthToken } from '../gitlab/inspect-token.ts'
import type { InstanceClients } from '../instances/instance-clients.ts'
import { findInstance } from '../instances/queries.ts'
import type { OAuthClients } from '../oauth-apps/oauth-clients.ts'
import { findOAuthApp } from '../oauth-apps/queries.ts'
import type { TokenAnswer, TokenSet } from '../oauth-apps/token-answer.ts'
import type { Vault } from '../vault/vault.ts'
import {
  claimConnection,
  findConnection,
  findLeaseEnd,
  lockConnection,
  markAttemptSent,
  releaseClaim,
  saveFailure,
} from './queries.ts'
import {
  afterFailure,
  CLAIM_SECONDS,
  decideRefresh,
  type FailureCode,
  type OnConflict,
  type RefreshDecision,
  type RefreshFailure,
} from './refresh-decision.ts'
import type { TokenSaver } from './token-saver.ts'

export type RefreshOutcome =
  /** There is a newer version than the one that was to be replaced. */
  | { kind: 'newer_version' }
  | { kind: 'in_use'; until: Date }
  | { kind: 'failing'; code: FailureCode; until: Date }
  /** No longer active, not refreshable, or deleted: read the connection again. */
  | { kind: 'read_again' }

export type RefreshWish = { knownVersion: number; onConflict: OnConflict }

export type Refresher = {
  /**
   * Replaces a token version, once: calls in this process share one attempt, and a claim in the row keeps other
   * replicas out. No database connection is held while GitLab is asked.
   */
  refresh(connectionId: string, wish: RefreshWish): Promise<RefreshOutcome>
  /** Resolves when the attempts under way have ended and their results are kept. */
  idle(): Promise<void>
}

type Deps = {
  db: Database
  vault: Vault
  clock: Clock
  logger: Logger
  instanceClients: InstanceClients
  oauthClients: OAuthClients
  tokenSaver: TokenSaver
}

const POLL_MS = 100
/** How long a caller waits for another replica's attempt: with the poll it stays below a scanner's patience. */
const LONGEST_WAIT_MS = 12_000

type Claim = { row: ConnectionRow; attemptId: string }

export const createRefresher = (deps: Deps): Refresher => {
  const underWay = new Map<string, Promise<RefreshOutcome>>()

  const refreshOnce = async (connectionId: string, wish: RefreshWish): Promise<RefreshOutcome> => {
    const waitUntil = performance.now() + LONGEST_WAIT_MS
    for (;;) {
      const { decision, claim, failureCode } = await claimRefresh(deps, connectionId, wish)
      if (claim) return attempt(deps, claim)
      switch (decision?.action) {
        case 'wait':
          if (performance.now() > waitUntil)
            return { kind: 'failing', code: 'gitlab_unavailable', until: decision.until }
          await sleep(POLL_MS)
          break
        case 'stop':
          switch (decision.reason) {
            case 'newer_version':
              return { kind: 'newer_version' }
            case 'in_use':
              return { kind: 'in_use', until: decision.until }
            case 'backing_off':
              return { kind: 'failing', code: failureCode ?? 'gitlab_unavailable', until: decision.until }
            default:
              return { kind: 'read_again' }
          }
        default:
          return { kind: 'read_again' }
      }
    }
  }

  return {
    refresh(connectionId, wish) {
      const joined = underWay.get(connectionId)
      if (joined) return joined
      const started = refreshOnce(connectionId, wish).finally(() => underWay.delete(connectionId))
      underWay.set(connectionId, started)
      return started
    },
    async idle() {
      while (underWay.size > 0) await Promise.allSettled(underWay.values())
    },
  } satisfies Refresher
}

type ClaimResult = { decision?: RefreshDecision; claim?: Claim; failureCode?: FailureCode | null }

const claimRefresh = ({ db, clock }: Deps, connectionId: string, wish: RefreshWish): Promise<ClaimResult> =>
  db.transaction().execute(async (transaction) => {
    const row = await lockConnection(transaction, connectionId)
    if (!row) return {}
    const now = new Date(clock())
    // A statement of its own, after the lock: it sees the leases that were granted while we waited for the lock.
    const leasedUntil = await findLeaseEnd(transaction, { id: row.id, tokenVersion: row.token_version, now })
    const refreshable = row.refresh_token !== null && row.oauth_app_id !== null
    const decision = decideRefresh({ ...row, refreshable, leasedUntil }, wish, now)
    if (decision.action !== 'claim') return { decision, failureCode: row.failure_code as FailureCode | null }

    const attemptId = uuidv7()
    const abandoned = decision.reason === 'abandoned_attempt' ? afterAbandonedAttempt(row) : {}
    const deadline = addSeconds(now, CLAIM_SECONDS)
    await claimConnection(transaction, row.id, { id: attemptId, kind: 'refresh', deadline }, abandoned)
    return { decision, claim: { row: { ...row, ...abandoned }, attemptId } }
  })

/** A writer died. If its request had left, GitLab may hold a newer pair that nobody knows. */
const afterAbandonedAttempt = (row: ConnectionRow): Partial<ConnectionRow> => {
  if (row.attempt_sent_at === null) return {}
  const detail = `A refresh was sent at ${row.attempt_sent_at.toISOString()}, and the process ended before the answer was saved.`
  const keepsCause =
    row.failure_code === 'refresh_answer_lost' || row.failure_code === 'refresh_token_refused'
  return {
    unanswered_since: row.unanswered_since ?? row.attempt_sent_at,
    failing_since: row.failing_since ?? row.attempt_sent_at,
    failure_code: keepsCause ? row.failure_code : 'refresh_answer_lost',
    failure_detail: keepsCause ? row.failure_detail : detail,
  }
}

const attempt = async (deps: Deps, { row, attemptId }: Claim): Promise<RefreshOutcome> => {
  const { db, vault, clock, logger, tokenSaver } = deps
  const log = logger.child({ connection_id: row.id, attempt_id: attemptId, token_version: row.token_version })
  let app: OAuthAppRow | undefined
  let instance: InstanceRow | undefined
  let refreshToken: string
  try {
    app = await findOAuthApp(db, row.oauth_app_id!)
    instance = await findInstance(db, row.instance_id)
    refreshToken = await vault.open(row.refresh_token!, {
      ownerId: row.id,
      version: row.token_version,
      use: 'refresh',
    })
    if (!app || !instance) throw new Error('The OAuth app or the instance of the connection is gone')
    if (!(await markAttemptSent(db, row.id, attemptId, new Date(clock())))) return { kind: 'newer_version' }
  } catch (error) {
    // Nothing was sent: give the claim back, so that nobody has to wait for its end.
    await releaseClaim(db, row.id, attemptId).catch(() => undefined)
    throw error
  }

  const oauthClient = await deps.oauthClients.for(app, instance)
  const answer = await oauthClient.refresh(refreshToken)
  if (answer.kind === 'issued') {
    await tokenSaver.save({
      connectionId: row.id,
      attemptId,
      tokenVersion: row.token_version + 1,
      answeredAt: new Date(clock()),
      ...keepMissing(answer.tokenSet, refreshToken, row),
    })
    log.info('refreshed')
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
const keepMissing = (tokenSet: TokenSet, refreshToken: string, row: ConnectionRow) => ({
  tokenSet: {
    ...tokenSet,
    refreshToken: tokenSet.refreshToken ?? refreshToken,
    scopes: tokenSet.scopes.length > 0 ? tokenSet.scopes : row.scopes,
  },
})

type Failure = RefreshFailure & { askAboutToken: boolean }

const toFailure = (answer: Exclude<TokenAnswer, { kind: 'issued' }>): Failure => {
  const unavailable = (detail: string, mayHaveActed: boolean, retryAfterSeconds?: number): Failure => ({
    code: mayHaveActed ? 'refresh_answer_lost' : 'gitlab_unavailable',
    detail,
    mayHaveActed,
    retryAfterSeconds,
    askAboutToken: mayHaveActed,
  })
  switch (answer.kind) {
    case 'rate_limited':
      return unavailable('GitLab limits how often it may be asked.', false, answer.retryAfterSeconds)
    case 'server_error':
      return unavailable(
        `GitLab answered a refresh with ${answer.status}.`,
        answer.status !== 503,
        answer.retryAfterSeconds,
      )
    case 'unreadable':
      return unavailable(
        'GitLab answered a refresh with something that is no token.',
        (answer.status ?? 200) < 400,
      )
    case 'failure': {
      const failure = unavailable(
        `GitLab gave no answer to a refresh (${answer.reason}).`,
        answer.mayHaveActed,
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
