import { v7 as uuidv7 } from 'uuid'
import { addSeconds, type Clock, retryAfterSeconds } from '../clock/clock.ts'
import { startPatience } from '../clock/patience.ts'
import type { Database } from '../db/database.ts'
import type { AttemptKind, ConnectionRow } from '../db/tables.ts'
import { notFound, Problem } from '../errors/problem.ts'
import { afterAbandonedAttempt, endOfDoubt, mayStillAct } from './doubt.ts'
import { claimConnection, findLeaseEnd, lockConnection, NO_ATTEMPT, releaseClaim } from './queries.ts'
import { CLAIM_SECONDS, isClaimed } from './refresh-decision.ts'

/** The right of one writer, in all processes, to change the token of a connection until the deadline. */
export type Claim = { row: ConnectionRow; attemptId: string }

export type ClaimState = { row: ConnectionRow; leasedUntil: Date | null; now: Date }

/**
 * Locks the row, decides, and claims, in one short transaction.
 * @param decide 'claim' to claim; anything else is handed back and nothing is changed.
 * @param ownLease a lease that does not count: its holder asks for the change.
 */
export const claimIf = <Decision>(
  { db, clock }: { db: Database; clock: Clock },
  connectionId: string,
  kind: AttemptKind,
  decide: (state: ClaimState) => 'claim' | Decision,
  ownLease?: string,
): Promise<{ claim: Claim } | { decision: Decision } | undefined> =>
  db.transaction().execute(async (transaction) => {
    let row = await lockConnection(transaction, connectionId)
    if (!row) return undefined
    const now = new Date(clock())
    // A writer that died before it sent anything leaves nothing but its claim, which would keep the token from all.
    if (row.attempt_id !== null && row.attempt_sent_at === null && !isClaimed(row, now)) {
      await releaseClaim(transaction, row.id, row.attempt_id)
      row = { ...row, ...NO_ATTEMPT }
    }
    // A statement of its own, after the lock: it sees the leases that were given while we waited for the lock.
    const { id, token_version: tokenVersion } = row
    const leasedUntil = await findLeaseEnd(transaction, { id, tokenVersion, now, except: ownLease })
    const decision = decide({ row, leasedUntil, now })
    if (decision !== 'claim') return { decision }
    const attemptId = uuidv7()
    const abandoned = afterAbandonedAttempt(row)
    await claimConnection(
      transaction,
      row.id,
      { id: attemptId, kind, deadline: addSeconds(now, CLAIM_SECONDS) },
      abandoned,
    )
    return { claim: { row: { ...row, ...abandoned }, attemptId } }
  })

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
