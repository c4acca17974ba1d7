import type { Principal } from '../../callers/principal.ts'
import type { Database } from '../../db/database.ts'
import { invalidField, type Problem } from '../../errors/problem.ts'
import { holderOf, isHeldBy } from '../../leases/lease.ts'
import { type LeasedToken, leaseToken } from '../../leases/lease-token.ts'
import { findLease, releaseLeases } from '../../leases/queries.ts'
import { isLeaseCurrent, readLeased } from '../../leases/read-leased.ts'
import type { Delivery } from '../../leases/serving-decision.ts'
import { shareCalls } from '../../share.ts'
import { findConnection } from '../../token-lifecycle/queries.ts'
import type { OnConflict } from '../../token-lifecycle/refresh-decision.ts'
import { type FindByUrlDeps, leaseTokenByUrl } from '../find-by-url.ts'
import { startDeadline } from './deadline.ts'
import { rememberBatch } from './idempotency.ts'
import type { Turns } from './turns.ts'

export type BatchRequest = {
  url?: string
  connection_id?: string
  organization?: string
  min_ttl?: number
  on_conflict?: OnConflict
  purpose?: string
}

export type BatchOptions = {
  /** What is wrong with requests that cannot be read, by position. */
  faults: ReadonlyMap<number, Problem>
  waitMs: number
  /** Aborts when the caller is gone. */
  caller: AbortSignal
  idempotencyKey: string | undefined
  delivery: Delivery
}

export type BatchResult = { leased: LeasedToken } | { error: unknown }

type Deps = FindByUrlDeps & { db: Database }

/**
 * Leases a token for each request, in the same order. They wait in turn for statements, which they share, and for GitLab,
 * until the deadline of the caller.
 * @throws {Problem} idempotency_key_reused, batch_in_progress
 */
export const leaseBatch = async (
  { turns, ...deps }: Deps & { turns: Turns<Deps> },
  principal: Principal,
  requests: BatchRequest[],
  { waitMs, caller, idempotencyKey, delivery, faults }: BatchOptions,
): Promise<BatchResult[]> => {
  const remembered = await rememberBatch(deps, principal, idempotencyKey, requests)
  const deadline = startDeadline(waitMs, caller)
  const inTurn = turns(deadline.signal)
  const release = createRelease(deps, principal)
  const knownAt = (position: number) => remembered.leaseIds[position] || undefined
  // A lease of an earlier answer stays with whoever has that answer.
  const giveBack = ({ row }: LeasedToken, position: number): void => {
    if (row.lease_id !== knownAt(position)) release(row.lease_id).catch(() => undefined)
  }
  try {
    const results = await Promise.all(
      requests.map(async (request, position): Promise<BatchResult> => {
        const fault = faults.get(position)
        if (fault) return { error: fault }
        const work = leaseOne(inTurn, principal, request, { delivery, known: knownAt(position) })
        return deadline
          .race(work, (late) => giveBack(late, position))
          .then(
            (leased) => ({ leased }),
            (error: unknown) => ({ error }),
          )
      }),
    )
    await remembered.finish(
      results.map((result, position) =>
        'leased' in result ? result.leased.row.lease_id : (knownAt(position) ?? ''),
      ),
    )
    // Without an Idempotency-Key nobody can ask for the answer again.
    if (caller.aborted && idempotencyKey === undefined)
      for (const [position, result] of results.entries())
        if ('leased' in result) giveBack(result.leased, position)
    return results
  } finally {
    deadline.end()
  }
}

/** A lease that comes too late is nobody's. Many share a statement. */
const createRelease = ({ db, clock }: Deps, principal: Principal): ((id: string) => Promise<string>) =>
  shareCalls(async (ids: string[]) => {
    const now = new Date(clock())
    await releaseLeases(db, { ids, holder: holderOf(principal), organizations: undefined, now })
    return ids
  })

const leaseOne = async (
  deps: Deps,
  principal: Principal,
  request: BatchRequest,
  { delivery, known }: { delivery: Delivery; known: string | undefined },
): Promise<LeasedToken> => {
  const again = known && (await leasedBefore(deps, principal, known))
  if (again) return again
  const { url, connection_id, organization, min_ttl, on_conflict = 'respect', purpose } = request
  if ((url === undefined) === (connection_id === undefined))
    throw invalidField('url', 'or connection_id is required, and not both')
  const options = { minTtl: min_ttl, onConflict: on_conflict, purpose, delivery }
  return connection_id === undefined
    ? leaseTokenByUrl(deps, principal, { url: url ?? '', organization }, options)
    : leaseToken(deps, connection_id, principal, options)
}

const leasedBefore = async (
  { db, clock, openedTokens }: Deps,
  principal: Principal,
  leaseId: string,
): Promise<LeasedToken | undefined> => {
  const lease = await findLease(db, leaseId)
  if (!lease || !isHeldBy(lease, principal) || lease.expires_at.getTime() <= clock()) return undefined
  const row = await findConnection(db, lease.connection_id)
  return isLeaseCurrent(lease, row) ? readLeased(openedTokens, leaseId, row) : undefined
}
