import { addSeconds } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { deleteLeasesBefore } from './queries.ts'

const DAY_SECONDS = 86_400

/** @returns how many rows went. */
export const deleteOld = (db: Database, retentionDays: number, now: Date): Promise<number> =>
  deleteLeasesBefore(db, addSeconds(now, -retentionDays * DAY_SECONDS))
