import type { Actor } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { Problem } from '../errors/problem.ts'
import { type AuditAction, type AuditEvent, recordAuditEvent } from './queries.ts'

export type RecordedChange<Row> = {
  action: AuditAction
  /** @returns the row as the record names it: the new one, or the one that was deleted. */
  change(transaction: Database, now: Date): Promise<Row>
  details(row: Row): AuditEvent['details']
  /** The constraint that callers can run into, and what they are told then. */
  conflict?: { when(error: unknown): boolean; problem(): Problem }
}

/**
 * Changes one row and records who did it, in one transaction: both happen, or neither.
 * @throws {Problem} of the conflict, otherwise what `change` throws
 */
export const recordChange = async <Row extends { id: string }>(
  { db, clock }: { db: Database; clock: Clock },
  actor: Actor,
  { action, change, details, conflict }: RecordedChange<Row>,
): Promise<Row> => {
  const now = new Date(clock())
  try {
    return await db.transaction().execute(async (transaction) => {
      const row = await change(transaction, now)
      await recordAuditEvent(transaction, {
        at: now,
        action,
        subjectId: row.id,
        details: details(row) ?? {},
        ...actor,
      })
      return row
    })
  } catch (error) {
    throw conflict?.when(error) ? conflict.problem() : error
  }
}
