import { addSeconds } from '../../clock/clock.ts'
import type { Database } from '../../db/database.ts'
import { deleteProofsBefore, REACHES_SECONDS, REFUSED_SECONDS } from './queries.ts'

export const deleteOld = (db: Database, now: Date): Promise<number> =>
  deleteProofsBefore(db, {
    refusedBefore: addSeconds(now, -REFUSED_SECONDS),
    reachesBefore: addSeconds(now, -REACHES_SECONDS),
  })
