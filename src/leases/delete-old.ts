import { recordAuditEvent } from '../audit/queries.ts'
import { addSeconds } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { deleteLeasesBefore, deleteSlotsBefore, hasLeaseBefore } from './record/queries.ts'
import { deleteWrappedLeasesBefore } from './wrapped/queries.ts'

const DAY_SECONDS = 86_400

/**
 * Says first what it deletes: the audit chain covers the leases, and would miss them otherwise.
 * @returns how many rows went.
 */
export const deleteOld = async (db: Database, retentionDays: number, now: Date): Promise<number> => {
  const before = addSeconds(now, -retentionDays * DAY_SECONDS)
  const wrapped = await deleteWrappedLeasesBefore(db, before)
  if (!(await hasLeaseBefore(db, before))) return wrapped
  await recordAuditEvent(db, {
    at: now,
    action: 'leases.deleted_old',
    details: { before: before.toISOString() },
  })
  await deleteSlotsBefore(db, before)
  return wrapped + (await deleteLeasesBefore(db, before))
}
