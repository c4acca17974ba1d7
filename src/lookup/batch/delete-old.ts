import { addSeconds } from '../../clock/clock.ts'
import type { Database } from '../../db/database.ts'
import { deleteBatchesBefore } from './queries.ts'

/** Nobody repeats a request after a day. */
const KEPT_SECONDS = 86_400

export const deleteOld = (db: Database, now: Date): Promise<number> =>
  deleteBatchesBefore(db, addSeconds(now, -KEPT_SECONDS))
