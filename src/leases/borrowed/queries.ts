import type { Insertable } from 'kysely'
import type { Database } from '../../db/database.ts'
import type { Tables } from '../../db/tables.ts'

/** Whoever calls holds the row of the connection: no refresh is claimed meanwhile. */
export const insertLease = async (
  transaction: Database,
  lease: Insertable<Tables['leases']>,
): Promise<void> => {
  await transaction.insertInto('leases').values(lease).execute()
}
