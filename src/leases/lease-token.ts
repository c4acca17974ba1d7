import { mayNameConnections, type Principal } from '../callers/principal.ts'
import { type Clock, retryAfterSeconds } from '../clock/clock.ts'
import { type Patience, startPatience } from '../clock/patience.ts'
import { notFound, Problem } from '../errors/problem.ts'
import { tokenInUse } from '../token-lifecycle/claim.ts'
import type { Refresher } from '../token-lifecycle/refresh.ts'
import type { RefreshReason } from '../token-lifecycle/refresh-decision.ts'
import type { StoredTokenVerifier } from '../token-lifecycle/verify-stored-token.ts'
import {
  holderOf,
  isLeased,
  type LeasedRow,
  type LeaseRequest,
  type LeaseRow,
  type RefusedRow,
} from './lease.ts'
import { newLeaseId } from './lease-id.ts'
import type { OpenedTokens } from './opened-tokens.ts'
import { requireDelivery } from './require-delivery.ts'
import {
  conditionsAfterRefresh,
  conditionsWhileLeased,
  conditionsWhileUnavailable,
  decideServing,
  firstConditions,
  type LeaseConditions,
  type LeaseOptions,
  type RefusalCode,
} from './serving-decision.ts'
import type { LeasesById } from './shared-statements.ts'

export type LeaseDeps = {
  clock: Clock
  leasesById: LeasesById
  openedTokens: OpenedTokens
  refresher: Refresher
  verifier: StoredTokenVerifier
}

/** A token with its lease in the database. */
export type LeasedToken = { row: LeasedRow; token: string }

/** A refresh that goes on is soon over, most of the time. */
const PENDING_RETRY_SECONDS = 5
/** When a connection changes more often than this during one lookup, the caller has to ask again later. */
const MOST_ROUNDS = 6

/** Every lease begins here. @throws {Problem} sealed_answer_required */
export const toLeaseRequest = (
  principal: Principal,
  { purpose, delivery }: Pick<LeaseOptions, 'purpose' | 'delivery'>,
  conditions: LeaseConditions,
): LeaseRequest => {
  requireDelivery(principal, delivery)
  return { leaseId: newLeaseId(), ...holderOf(principal), purpose: purpose ?? null, ...conditions }
}

/** leaseTokenOf a connection that the caller names by its id. @throws {Problem} those of leaseTokenOf */
export const leaseToken = async (
  deps: LeaseDeps,
  connectionId: string,
  principal: Principal,
  options: LeaseOptions,
): Promise<LeasedToken> => {
  if (!mayNameConnections(principal)) throw notFound('connection')
  return leaseTokenOf(deps, connectionId, principal, options)
}

/**
 * Leases a token of a connection that was found by URL, or by a lease of the caller. The token works and lives as long
 * as asked for; it is refreshed first where that is due.
 * @param asked what a statement has just answered for the first conditions of these options.
 * @throws {Problem} not_found, unauthorized (the key was deleted a moment ago), needs_reauthorization,
 *   connection_expired, connection_revoked, token_in_use, min_ttl_unattainable, gitlab_unavailable, oauth_app_rejected,
 *   database_unavailable
 */
export const leaseTokenOf = async (
  deps: LeaseDeps,
  connectionId: string,
  principal: Principal,
  options: LeaseOptions,
  patience = startPatience(),
  asked?: RefusedRow,
): Promise<LeasedToken> => {
  const { leasesById } = deps
  let known: LeaseRow | undefined = asked
  let conditions = firstConditions(options)
  let refusal: Problem | undefined
  let isFresh = false
  for (let round = 0; round < MOST_ROUNDS; ) {
    const request = { connectionId, ...toLeaseRequest(principal, options, conditions) }
    const row = known ?? (await leasesById.lease(request))
    known = undefined
    if (!row) {
      if (!(await leasesById.isLocked(request))) throw notFound('connection')
      if (patience.isOver()) throw locked()
      await patience.pause()
      continue
    }
    if (isLeased(row)) return { row, token: await deps.openedTokens.open(row) }
    if (refusal) throw refusal

    const decision = decideServing({ ...row, ...row.refused }, options, new Date(deps.clock()))
    if (decision.action === 'wait' && !patience.isOver()) {
      await patience.pause()
      continue
    }
    round += 1
    switch (decision.action) {
      case 'refuse':
        throw toRefusal(decision.code, row, options)
      case 'serve':
        conditions = decision.conditions
        break
      case 'refresh':
        if (isFresh && decision.reason === 'too_short') throw toRefusal('min_ttl_unattainable', row, options)
        ;({ conditions, refusal, isFresh } = await refreshFor(deps, row, options, decision.reason, patience))
        break
      case 'verify':
        if ((await deps.verifier.verify(connectionId, patience)).kind === 'unknown') throw inDoubt()
        break
      case 'wait':
        throw inDoubt()
    }
  }
  throw new Problem('gitlab_unavailable', 'The token changes too often right now.', { retryAfterSeconds: 1 })
}

const locked = (): Problem =>
  new Problem('database_unavailable', 'The row of this connection is locked in the database.', {
    retryAfterSeconds: 5,
  })

const inDoubt = (): Problem =>
  new Problem(
    'gitlab_unavailable',
    'The token is being changed, and GitLab does not say yet how that went.',
    { retryAfterSeconds: 5 },
  )

/** The conditions for the next try, and what to answer if the token does not meet those either. */
type Next = {
  conditions: LeaseConditions
  refusal: Problem | undefined
  /** The token was issued for this lookup: another refresh would bring no better one. */
  isFresh: boolean
}

const refreshFor = async (
  { refresher, clock }: LeaseDeps,
  row: RefusedRow,
  options: LeaseOptions,
  reason: RefreshReason,
  patience: Patience,
): Promise<Next> => {
  const { onConflict, ownLease } = options
  const request = { knownVersion: row.token_version, onConflict, reason, ownLease }
  const outcome = await refresher.refresh(row.connection_id, request, patience)
  const now = new Date(clock())
  switch (outcome.kind) {
    case 'newer_version':
      return { conditions: conditionsAfterRefresh(options), refusal: undefined, isFresh: true }
    case 'read_again':
      return { conditions: firstConditions(options), refusal: undefined, isFresh: false }
    case 'pending':
      throw new Problem(
        'gitlab_unavailable',
        'GitLab has not answered yet. The refresh goes on, and a late answer is saved.',
        { retryAfterSeconds: PENDING_RETRY_SECONDS },
      )
    case 'in_use':
      return {
        conditions: conditionsWhileLeased(options),
        refusal: tokenInUse(outcome.until, now, { canPreempt: ownLease === undefined }),
        isFresh: false,
      }
    case 'failing': {
      const extras = { retryAfterSeconds: retryAfterSeconds(outcome.until, now) }
      const refusal =
        outcome.code === 'oauth_app_rejected'
          ? new Problem(
              'oauth_app_rejected',
              'GitLab rejects the OAuth app of this connection; an admin has to correct it.',
              extras,
            )
          : new Problem(
              'gitlab_unavailable',
              'GitLab gives no new token right now, and the current one expires too soon.',
              extras,
            )
      return { conditions: conditionsWhileUnavailable(options), refusal, isFresh: false }
    }
  }
}

const toRefusal = (code: RefusalCode, { refused, ...row }: RefusedRow, { minTtl }: LeaseOptions): Problem => {
  const { connection_id } = row
  if (code === 'min_ttl_unattainable') {
    const expires_at = row.token_expires_at?.toISOString() ?? null
    return new Problem(
      code,
      minTtl === undefined
        ? 'GitLab issues tokens for this connection that end at once.'
        : `No token of this connection lives ${minTtl} seconds more.`,
      {
        members: { connection_id, expires_at },
      },
    )
  }
  const fallback =
    code === 'connection_expired' ? 'The token has reached its end; a person has to replace it.' : undefined
  return new Problem(code, refused.status_detail ?? fallback, {
    members: { connection_id, status_reason: refused.status_reason },
  })
}
