import { addSeconds } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { deleteMissingBefore } from './queries.ts'

/** What GitLab has not listed for so long comes back as new, if at all. */
const KEPT_SECONDS = 90 * 86_400

export const deleteOld = (db: Database, now: Date): Promise<number> =>
  deleteMissingBefore(db, addSeconds(now, -KEPT_SECONDS))
