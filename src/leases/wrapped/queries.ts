import type { Insertable } from 'kysely'
import type { Database } from '../../db/database.ts'
import type { Tables, WrappedLeaseRow } from '../../db/tables.ts'
import type { LeaseHolder } from '../lease.ts'
import { firstIdAt } from '../lease-id.ts'

/** Who opened a wrapped lease holds it. */
export const giveLeaseTo = async (
  db: Database,
  id: string,
  { accessKeyId, subject }: LeaseHolder,
): Promise<void> => {
  await db.updateTable('leases').set({ access_key_id: accessKeyId, subject }).where('id', '=', id).execute()
}

export const insertWrappedLease = async (
  db: Database,
  row: Insertable<Tables['wrapped_leases']>,
): Promise<void> => {
  await db.insertInto('wrapped_leases').values(row).execute()
}

export const findWrappedLease = (db: Database, leaseId: string): Promise<WrappedLeaseRow | undefined> =>
  db.selectFrom('wrapped_leases').selectAll().where('lease_id', '=', leaseId).executeTakeFirst()

/** @returns false when it was opened before, has ended, or has another handle. */
export const markWrappedLeaseOpened = async (
  db: Database,
  { leaseId, handleSha256, now }: { leaseId: string; handleSha256: Buffer; now: Date },
): Promise<boolean> => {
  const result = await db
    .updateTable('wrapped_leases')
    .set({ opened_at: now })
    .where('lease_id', '=', leaseId)
    .where('handle_sha256', '=', handleSha256)
    .where('opened_at', 'is', null)
    .where('expires_at', '>', now)
    .executeTakeFirstOrThrow()
  return result.numUpdatedRows > 0n
}

/** They go with their leases, and are kept as long: a second opening may come late. @returns how many rows went. */
export const deleteWrappedLeasesBefore = async (db: Database, time: Date): Promise<number> => {
  const result = await db
    .deleteFrom('wrapped_leases')
    .where('lease_id', '<', firstIdAt(time))
    .executeTakeFirstOrThrow()
  return Number(result.numDeletedRows)
}
