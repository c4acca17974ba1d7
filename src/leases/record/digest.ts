import { createHash } from 'node:crypto'
import { hourAfter, type LeaseDigest, startOfHour } from '../../audit/seals/seal.ts'
import type { LeaseDigests } from '../../audit/seals/seal-audit.ts'
import type { Database } from '../../db/database.ts'
import { timeOfId } from '../lease-id.ts'
import { digestLeases, findOldestLeaseId } from './queries.ts'

/** The database hashes so many in some milliseconds; part of the format of a digest. */
const LEASES_AT_ONCE = 5_000

/** The digests of the leases that the audit chain holds: of each hour, by the time in the ids. */
export const createLeaseDigests = (db: Database): LeaseDigests => ({
  async oldestHour() {
    const id = await findOldestLeaseId(db)
    return id === undefined ? undefined : startOfHour(timeOfId(id))
  },

  async digest(hour): Promise<LeaseDigest> {
    const hash = createHash('sha256')
    let count = 0
    let after: string | undefined
    for (;;) {
      const batch = await digestLeases(db, { after, from: hour, to: hourAfter(hour), limit: LEASES_AT_ONCE })
      if (!batch) return { hour, count, sha256: hash.digest('hex') }
      hash.update(batch.sha256)
      count += batch.count
      after = batch.last
    }
  },
})
