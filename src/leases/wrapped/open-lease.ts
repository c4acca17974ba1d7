import { recordAuditEvent } from '../../audit/queries.ts'
import { mayActIn, mayNameConnections, type Origin, type Principal } from '../../callers/principal.ts'
import type { Database } from '../../db/database.ts'
import { notFound, Problem } from '../../errors/problem.ts'
import { findConnection } from '../../token-lifecycle/queries.ts'
import { holderOf, isHeldBy } from '../lease.ts'
import { type LeaseDeps, type LeasedToken, leaseTokenOf } from '../lease-token.ts'
import { findLease, type GivenLease } from '../queries.ts'
import { isLeaseCurrent, readLeased } from '../read-leased.ts'
import { hashHandle } from '../sealed-delivery.ts'
import type { Delivery } from '../serving-decision.ts'
import { findWrappedLease, giveLeaseTo, markWrappedLeaseOpened } from './queries.ts'

type Deps = LeaseDeps & { db: Database }
type Opening = { leaseId: string; handle: string; delivery: Delivery; origin: Origin }

const exists = (lease: GivenLease, principal: Principal): boolean => {
  const { restrictions } = principal
  return (
    mayActIn(principal, lease.organization) &&
    (restrictions.connections?.includes(lease.connection_id) ?? true) &&
    (isHeldBy(lease, principal) || mayNameConnections(principal))
  )
}

/**
 * Gives the token of a wrapped lease, once; the lease is the opener's from then on. A second opening is recorded: one of
 * the two was not the one that the handle was meant for.
 * @throws {Problem} not_found, already_opened, handle_expired, and those of leaseTokenOf
 */
export const openLease = async (deps: Deps, opening: Opening, principal: Principal): Promise<LeasedToken> => {
  const { db, clock } = deps
  const { leaseId, handle, delivery, origin } = opening
  const lease = await findLease(db, leaseId)
  if (!lease || !exists(lease, principal)) throw notFound('wrapped lease')
  const now = new Date(clock())
  const event = {
    at: now,
    accessKeyId: principal.id,
    organization: lease.organization,
    subjectId: leaseId,
    ...origin,
  }
  const handleSha256 = hashHandle(handle)
  const isOpened = await db.transaction().execute(async (transaction) => {
    if (!(await markWrappedLeaseOpened(transaction, { leaseId, handleSha256, now }))) return false
    await giveLeaseTo(transaction, leaseId, holderOf(principal))
    const details = { wrapped_by: lease.access_key_id, subject: principal.subject }
    await recordAuditEvent(transaction, { ...event, action: 'lease.opened', details })
    return true
  })
  if (!isOpened) {
    const wrapped = await findWrappedLease(db, leaseId)
    if (!wrapped?.handle_sha256.equals(handleSha256)) throw notFound('wrapped lease')
    if (wrapped.opened_at === null)
      throw new Problem('handle_expired', 'A handle opens within a minute: look the credential up again.')
    const details = { opened_at: wrapped.opened_at.toISOString(), subject: principal.subject }
    await recordAuditEvent(db, { ...event, action: 'lease.opened_twice', details })
    throw new Problem(
      'already_opened',
      'This handle was opened before. Was it not you, somebody else has the token: disconnect or rotate it.',
    )
  }
  const row = await findConnection(db, lease.connection_id)
  return isLeaseCurrent(lease, row)
    ? readLeased(deps.openedTokens, lease.id, row)
    : leaseAnew(deps, lease, principal, delivery)
}

const leaseAnew = (
  deps: Deps,
  { connection_id }: GivenLease,
  principal: Principal,
  delivery: Delivery,
): Promise<LeasedToken> =>
  leaseTokenOf(deps, connection_id, principal, { minTtl: undefined, onConflict: 'respect', delivery })
