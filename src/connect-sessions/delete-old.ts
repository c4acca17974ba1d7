import { addSeconds } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { deleteOldSessions } from './queries.ts'

const RETENTION_SECONDS = 7 * 86_400

/** @returns how many rows went. */
export const deleteOld = (db: Database, now: Date): Promise<number> =>
  deleteOldSessions(db, addSeconds(now, -RETENTION_SECONDS))
