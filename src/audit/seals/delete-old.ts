import { addSeconds } from '../../clock/clock.ts'
import type { Database } from '../../db/database.ts'
import { deleteSealsBefore, readDatabaseTime } from './queries.ts'

const DAY_SECONDS = 86_400
/** One statement stays far below the time limit. */
const SEALS_AT_ONCE = 500

/** Events go together with the seals that name them, by the database's clock. @returns how many events went. */
export const deleteOld = async (db: Database, retentionDays: number): Promise<number> => {
  const now = await readDatabaseTime(db)
  const before = addSeconds(now, -retentionDays * DAY_SECONDS)
  let total = 0
  for (;;) {
    const events = await deleteSealsBefore(db, { before, mostSeals: SEALS_AT_ONCE, now })
    if (events === undefined) return total
    total += events
  }
}
