import type { Insertable } from 'kysely'
import { SERVICE_ID } from '../../callers/principal.ts'
import type { Database } from '../../db/database.ts'
import type { Tables } from '../../db/tables.ts'

/** Whoever calls holds the row of the connection: no refresh is claimed meanwhile. */
export const insertLease = async (
  transaction: Database,
  lease: Insertable<Tables['leases']>,
): Promise<void> => {
  await transaction.insertInto('leases').values(lease).execute()
}

/** Releases what the service holds of a connection. */
export const giveBackAll = async (db: Database, connectionId: string, now: Date): Promise<void> => {
  await db
    .updateTable('leases')
    .set({ released_at: now })
    .where('connection_id', '=', connectionId)
    .where('access_key_id', '=', SERVICE_ID)
    .where('expires_at', '>', now)
    .where('released_at', 'is', null)
    .execute()
}

/** Whether somebody but the service asked for a token of the connection since then. */
export const wasLeasedSince = async (db: Database, connectionId: string, since: Date): Promise<boolean> => {
  const row = await db
    .selectFrom('leases')
    .select('id')
    .where('connection_id', '=', connectionId)
    .where('expires_at', '>', since)
    .where('access_key_id', '<>', SERVICE_ID)
    .limit(1)
    .executeTakeFirst()
  return row !== undefined
}
