import { v7 as uuidv7 } from 'uuid'
import { addSeconds, type Clock, retryAfterSeconds } from '../clock/clock.ts'
import { startPatience } from '../clock/patience.ts'
import type { Database } from '../db/database.ts'
import type { AttemptKind, ConnectionRow } from '../db/tables.ts'
import { notFound, Problem } from '../errors/problem.ts'
import { shareCalls } from '../share.ts'
import {
  type ClaimableRow,
  claimConnections,
  findLeaseEnds,
  lockClaimable,
  lockFreeClaimable,
  type NewClaim,
} from './claims/queries.ts'
import { afterAbandonedAttempt, endOfDoubt, mayStillAct } from './doubt.ts'
import { NO_ATTEMPT, releaseClaim } from './queries.ts'
import { CLAIM_SECONDS, isClaimed } from './refresh-decision.ts'

/** The right of one writer, in all processes, to change the token of a connection until the deadline. */
export type Claim = {
  row: ClaimableRow
  attemptId: string
  /** When it was written, with the claim, that the refresh is about to be sent; undefined = it was not. */
  sentAt?: Date | undefined
}

export type ClaimState = { row: ConnectionRow; leasedUntil: Date | null; now: Date }

type ClaimRequest<Decision> = {
  connectionId: string
  kind: AttemptKind
  /** 'claim' to claim; anything else is handed back and nothing is changed. */
  decide: (state: ClaimState) => 'claim' | Decision
  /** A lease that does not count: its holder asks for the change. */
  ownLease?: string | undefined
}

/** undefined = there is no such connection. */
type ClaimResult<Decision> = { claim: Claim } | { decision: Decision } | undefined

/** A writer that died before it sent anything leaves nothing but its claim, which would keep the token from all. */
const withoutDeadClaim = async (
  transaction: Database,
  row: ClaimableRow,
  now: Date,
): Promise<ClaimableRow> => {
  if (row.attempt_id === null || row.attempt_sent_at !== null || isClaimed(row, now)) return row
  await releaseClaim(transaction, row.id, row.attempt_id)
  return { ...row, ...NO_ATTEMPT }
}

/** Decides about rows that are locked, and claims. */
const claimLocked = async <Decision>(
  transaction: Database,
  clock: Clock,
  requests: ClaimRequest<Decision>[],
  locked: ClaimableRow[],
): Promise<ClaimResult<Decision>[]> => {
  const now = new Date(clock())
  const rows = new Map<string, ClaimableRow>()
  for (const row of locked) rows.set(row.id, await withoutDeadClaim(transaction, row, now))
  const found = requests.filter(({ connectionId }) => rows.has(connectionId))
  // A statement of its own, after the lock: it sees the leases that were given while we waited for the lock.
  const ends = await findLeaseEnds(
    transaction,
    found.map(({ connectionId, ownLease }) => ({
      connectionId,
      tokenVersion: rows.get(connectionId)!.token_version,
      except: ownLease,
    })),
    now,
  )
  const leasedUntil = new Map(found.map((request, index) => [request, ends[index] ?? null]))
  const claims: NewClaim[] = []
  const results = requests.map((request): ClaimResult<Decision> => {
    const { connectionId, kind, decide } = request
    const row = rows.get(connectionId)
    if (!row) return undefined
    const decision = decide({ row, leasedUntil: leasedUntil.get(request)!, now })
    if (decision !== 'claim') return { decision }
    const attempt = { id: uuidv7(), kind, deadline: addSeconds(now, CLAIM_SECONDS) }
    const abandoned = afterAbandonedAttempt(row)
    claims.push({ connectionId, attempt, abandoned })
    // Another request of this batch for the same connection finds it claimed.
    rows.set(connectionId, {
      ...row,
      attempt_id: attempt.id,
      attempt_kind: kind,
      attempt_deadline: attempt.deadline,
      attempt_sent_at: null,
    })
    return { claim: { row: { ...row, ...abandoned }, attemptId: attempt.id } }
  })
  await claimConnections(transaction, claims)
  return results
}

/** Locks the row, decides, and claims, in one short transaction. */
export const claimIf = <Decision>(
  { db, clock }: { db: Database; clock: Clock },
  connectionId: string,
  kind: AttemptKind,
  decide: ClaimRequest<Decision>['decide'],
  ownLease?: string,
): Promise<ClaimResult<Decision>> =>
  db.transaction().execute(async (transaction) => {
    const request = { connectionId, kind, decide, ownLease }
    const rows = await lockClaimable(transaction, connectionId)
    return (await claimLocked(transaction, clock, [request], rows))[0]
  })

/** claimIf whose calls share transactions: a storm of refreshes costs the database a few. */
export const createSharedClaims = <Decision>({
  db,
  clock,
}: {
  db: Database
  clock: Clock
}): ((request: ClaimRequest<Decision>) => Promise<ClaimResult<Decision>>) => {
  const claimFree = shareCalls((requests: ClaimRequest<Decision>[]) =>
    db.transaction().execute(async (transaction) => {
      const ids = [...new Set(requests.map(({ connectionId }) => connectionId))]
      return claimLocked(transaction, clock, requests, await lockFreeClaimable(transaction, ids))
    }),
  )
  return async (request) => {
    const { connectionId, kind, decide, ownLease } = request
    // No row: the connection is locked, or gone. Waiting for the lock tells which.
    return (await claimFree(request)) ?? claimIf({ db, clock }, connectionId, kind, decide, ownLease)
  }
}

/** A person's change waits for no writer, and takes nothing from one: its answer may be the only copy of a token. */
export const requireUnclaimed = (row: ConnectionRow, now: Date): void => {
  if (!isClaimed(row, now)) return
  throw new Problem('gitlab_unavailable', 'Another change of this token is under way.', {
    retryAfterSeconds: 5,
  })
}

/**
 * While GitLab may still act on a request about a token, the same token given again proves nothing.
 * @throws {Problem} gitlab_unavailable
 */
export const requireSettled = (row: ConnectionRow, now: Date): void => {
  const { unanswered_since } = { ...row, ...afterAbandonedAttempt(row) }
  if (unanswered_since === null || !mayStillAct(unanswered_since, now)) return
  throw new Problem('gitlab_unavailable', 'GitLab may still be working on a change of this token.', {
    retryAfterSeconds: retryAfterSeconds(endOfDoubt(unanswered_since), now),
  })
}

/**
 * Claims a connection for something that a person asked for: waits while another writer is at it.
 * @param drained whether active leases stand in the way.
 * @throws {Problem} not_found, token_in_use, gitlab_unavailable
 */
export const claimForPerson = async (
  deps: { db: Database; clock: Clock },
  connectionId: string,
  kind: AttemptKind,
  { drained }: { drained: boolean },
): Promise<Claim> => {
  const patience = startPatience()
  for (;;) {
    const result = await claimIf(deps, connectionId, kind, ({ row, leasedUntil, now }) => {
      if (isClaimed(row, now)) return { wait: true as const }
      if (drained && leasedUntil !== null) return { wait: false as const, leasedUntil, now }
      return 'claim'
    })
    if (!result) throw notFound('connection')
    if ('claim' in result) return result.claim
    const { decision } = result
    if (!decision.wait) throw tokenInUse(decision.leasedUntil, decision.now, { canPreempt: false })
    if (patience.isOver()) {
      throw new Problem('gitlab_unavailable', 'Another change of this token is still under way.', {
        retryAfterSeconds: CLAIM_SECONDS,
      })
    }
    await patience.pause()
  }
}

/** @param canPreempt whether the caller may ask again with on_conflict=preempt. */
export const tokenInUse = (until: Date, now: Date, { canPreempt }: { canPreempt: boolean }): Problem =>
  new Problem(
    'token_in_use',
    `Scanners use this token until ${until.toISOString()}, and replacing it now would break them. Wait${canPreempt ? ', or ask with on_conflict=preempt' : ''}.`,
    {
      retryAfterSeconds: retryAfterSeconds(until, now),
      members: { leased_until: until.toISOString() },
    },
  )
