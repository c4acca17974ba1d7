import { readDatabaseTime } from '../../audit/seals/queries.ts'
import type { Database } from '../../db/database.ts'
import { timeOfId } from '../lease-id.ts'
import { findNewestSlot, findOldestLeaseId, insertSlot } from './queries.ts'

/** Also in the SQL of queries.ts. */
const SLOT_MS = 600_000
/** A lease is written within seconds of the time in its id; replicas whose clocks differ by more than this do not serve. */
const SETTLED_AFTER_MS = 600_000
/** The rest waits for the next run, a minute later. */
const MOST_SLOTS_PER_RUN = 500

/**
 * Notes which leases there are of each ten minutes that have ended: the index by which an auditor finds them. Lookups
 * pay nothing for it.
 * @param options.now left out: the database's clock
 */
export const noteLeaseSlots = async (db: Database, options: { now?: Date } = {}): Promise<void> => {
  const now = options.now ?? (await readDatabaseTime(db))
  const newest = await findNewestSlot(db)
  let from = newest && new Date(newest.getTime() + SLOT_MS)
  for (let count = 0; count < MOST_SLOTS_PER_RUN; count += 1) {
    const oldest = await findOldestLeaseId(db, from)
    if (oldest === undefined) return
    const slot = new Date(Math.floor(timeOfId(oldest).getTime() / SLOT_MS) * SLOT_MS)
    const end = new Date(slot.getTime() + SLOT_MS)
    if (end.getTime() + SETTLED_AFTER_MS > now.getTime()) return
    await insertSlot(db, slot, end)
    from = end
  }
}
