import { mayActIn, type Principal } from '../callers/principal.ts'
import { addSeconds } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { notFound, Problem } from '../errors/problem.ts'
import type { ConnectionWithInstance } from '../token-lifecycle/queries.ts'
import { isRefreshable } from '../token-lifecycle/refresh-decision.ts'
import { holderOf, isHeldBy } from './lease.ts'
import { type LeaseDeps, type LeasedToken, leaseTokenOf } from './lease-token.ts'
import { findLease, type GivenLease, prolongLease, releaseLeases, shareConnection } from './queries.ts'
import { isLeaseCurrent, readLeased } from './read-leased.ts'
import { requireDelivery } from './require-delivery.ts'
import { type Delivery, judge } from './serving-decision.ts'

type Deps = LeaseDeps & { db: Database }
type Extension = { leaseId: string; minTtl: number; delivery: Delivery }

const exists = (lease: GivenLease, principal: Principal): boolean =>
  isHeldBy(lease, principal) &&
  mayActIn(principal, lease.organization) &&
  (principal.restrictions.connections?.includes(lease.connection_id) ?? true)

/**
 * A long scan keeps its token.
 *
 * - The token lives min_ttl seconds more: the same version under the same lease, which now lasts as long.
 * - It does not, and nobody else holds a lease on it: the next version under a new lease. The old lease ends with its
 *   version.
 * - It does not, and others hold leases on it: token_in_use. The lease stays as it is.
 *
 * @throws {Problem} not_found (no such lease of this caller), lease_ended, and those of leaseTokenOf
 */
export const extendLease = async (
  deps: Deps,
  { leaseId, minTtl, delivery }: Extension,
  principal: Principal,
): Promise<LeasedToken> => {
  const { db, clock } = deps
  requireDelivery(principal, delivery)
  const lease = await findLease(db, leaseId)
  if (!lease || !exists(lease, principal)) throw notFound('lease')
  if (lease.released_at)
    throw new Problem('lease_ended', 'This lease was released or rejected: look the credential up again.')
  const row = await prolong(deps, lease, minTtl)
  if (row) return readLeased(deps.openedTokens, lease.id, row)
  const next = await leaseTokenOf(deps, lease.connection_id, principal, {
    minTtl,
    onConflict: 'respect',
    purpose: lease.purpose ?? undefined,
    delivery,
    ownLease: lease.id,
  })
  await releaseLeases(db, {
    ids: [lease.id],
    holder: holderOf(principal),
    organizations: undefined,
    now: new Date(clock()),
  })
  return next
}

/** The row stays locked until the lease is written, so that no refresh comes in between. */
const prolong = (
  { db, clock }: Deps,
  lease: GivenLease,
  minTtl: number,
): Promise<ConnectionWithInstance | undefined> =>
  db.transaction().execute(async (transaction) => {
    const row = await shareConnection(transaction, lease.connection_id)
    if (!isLeaseCurrent(lease, row)) return undefined
    const now = new Date(clock())
    const state = { ...row, refreshable: isRefreshable(row), leased: true }
    if (!judge(state, { minRemaining: minTtl, acceptPastHalfLife: true }, now).served) return undefined
    const wanted = addSeconds(now, minTtl)
    const end = row.token_expires_at
    const until = end !== null && end < wanted ? end : wanted
    return (await prolongLease(transaction, { id: lease.id, until })) ? row : undefined
  })
