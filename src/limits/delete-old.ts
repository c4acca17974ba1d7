import type { Database } from '../db/database.ts'
import { deleteGuessesBefore } from './queries.ts'

/** @returns how many rows went. */
export const deleteOld = (db: Database, now: Date): Promise<number> => deleteGuessesBefore(db, now)
