import { setTimeout as sleep } from 'node:timers/promises'
import { v7 as uuidv7 } from 'uuid'
import { addSeconds, type Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { AttemptKind, ConnectionRow } from '../db/tables.ts'
import { notFound, Problem } from '../errors/problem.ts'
import { claimConnection, findLeaseEnd, lockConnection, NO_ATTEMPT, releaseClaim } from './queries.ts'
import { CLAIM_SECONDS } from './refresh-decision.ts'

/** The right of one writer, in all processes, to change the token of a connection until the deadline. */
export type Claim = { row: ConnectionRow; attemptId: string }

export type ClaimState = { row: ConnectionRow; leasedUntil: Date | null; now: Date }

export const isClaimed = ({ attempt_id, attempt_deadline }: ConnectionRow, now: Date): boolean =>
  attempt_id !== null && attempt_deadline !== null && attempt_deadline > now

/** A writer died. If its request had left, GitLab may have acted on it, and nobody knows the answer. */
export const afterAbandonedAttempt = (row: ConnectionRow): Partial<ConnectionRow> => {
  if (row.attempt_id === null || row.attempt_sent_at === null) return {}
  const keepsCause =
    row.failure_code === 'refresh_answer_lost' ||
    row.failure_code === 'rotation_answer_lost' ||
    row.failure_code === 'refresh_token_refused'
  const what = row.attempt_kind === 'rotate' ? 'rotation' : 'refresh'
  const detail = `A ${what} was sent at ${row.attempt_sent_at.toISOString()}, and the process ended before the answer was saved.`
  return {
    unanswered_since: row.unanswered_since ?? row.attempt_sent_at,
    failing_since: row.failing_since ?? row.attempt_sent_at,
    failure_code: keepsCause ? row.failure_code : `${what}_answer_lost`,
    failure_detail: keepsCause ? row.failure_detail : detail,
  }
}

/**
 * Locks the row, decides, and claims, in one short transaction.
 * @param decide 'claim' to claim; anything else is handed back and nothing is changed.
 */
export const claimIf = <Decision>(
  { db, clock }: { db: Database; clock: Clock },
  connectionId: string,
  kind: AttemptKind,
  decide: (state: ClaimState) => 'claim' | Decision,
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
    // A statement of its own, after the lock: it sees the leases that were granted while we waited for the lock.
    const leasedUntil = await findLeaseEnd(transaction, { id: row.id, tokenVersion: row.token_version, now })
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

const POLL_MS = 100
const LONGEST_WAIT_MS = 12_000

/** A person's change waits for no writer, and takes nothing from one: its answer may be the only copy of a token. */
export const requireUnclaimed = (row: ConnectionRow, now: Date): void => {
  if (!isClaimed(row, now)) return
  throw new Problem('gitlab_unavailable', 'Another change of this token is under way.', {
    retryAfterSeconds: 5,
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
  const patience = performance.now() + LONGEST_WAIT_MS
  for (;;) {
    const result = await claimIf(deps, connectionId, kind, ({ row, leasedUntil, now }) => {
      if (isClaimed(row, now)) return { wait: true as const }
      if (drained && leasedUntil !== null) return { wait: false as const, leasedUntil, now }
      return 'claim'
    })
    if (!result) throw notFound('connection')
    if ('claim' in result) return result.claim
    const { decision } = result
    if (!decision.wait) throw tokenInUse(decision.leasedUntil, decision.now)
    if (performance.now() > patience) {
      throw new Problem('gitlab_unavailable', 'Another change of this token is still under way.', {
        retryAfterSeconds: CLAIM_SECONDS,
      })
    }
    await sleep(POLL_MS)
  }
}

export const tokenInUse = (until: Date, now: Date): Problem =>
  new Problem(
    'token_in_use',
    `Others use this token until ${until.toISOString()}; replacing it now would break them.`,
    {
      retryAfterSeconds: Math.max(1, Math.ceil((until.getTime() - now.getTime()) / 1000)),
      members: { leased_until: until.toISOString() },
    },
  )
