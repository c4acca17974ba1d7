import { addSeconds } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { deleteLeasesBefore } from './queries.ts'
import { deleteWrappedLeasesBefore } from './wrapped/queries.ts'

const DAY_SECONDS = 86_400

/** @returns how many rows went. */
export const deleteOld = async (db: Database, retentionDays: number, now: Date): Promise<number> => {
  const time = addSeconds(now, -retentionDays * DAY_SECONDS)
  const wrapped = await deleteWrappedLeasesBefore(db, time)
  return wrapped + (await deleteLeasesBefore(db, time))
}
