import { type Insertable, sql } from 'kysely'
import type { Database } from '../db/database.ts'
import type { DataKeyRow, SigningKeyRow, Tables } from '../db/tables.ts'

export const listDataKeys = (db: Database): Promise<DataKeyRow[]> =>
  db.selectFrom('data_keys').selectAll().orderBy('id').execute()

export const findDataKey = (db: Database, id: string): Promise<DataKeyRow | undefined> =>
  db.selectFrom('data_keys').selectAll().where('id', '=', id).executeTakeFirst()

/** Inserts only into an empty table; the table lock lets one of several starting replicas win. */
export const insertFirstDataKey = (db: Database, row: Insertable<Tables['data_keys']>): Promise<void> =>
  db.transaction().execute(async (transaction) => {
    await sql`lock table data_keys in share row exclusive mode`.execute(transaction)
    const first = await transaction.selectFrom('data_keys').select('id').limit(1).executeTakeFirst()
    if (!first) await transaction.insertInto('data_keys').values(row).execute()
  })

/**
 * Makes a data key, unless another process made one since.
 * @returns false when the newest is no longer `last`.
 */
export const insertNextDataKey = (
  db: Database,
  row: Insertable<Tables['data_keys']>,
  last: string,
): Promise<boolean> =>
  db.transaction().execute(async (transaction) => {
    await sql`lock table data_keys in share row exclusive mode`.execute(transaction)
    const newest = await transaction
      .selectFrom('data_keys')
      .select('id')
      .orderBy('id', 'desc')
      .limit(1)
      .executeTakeFirst()
    if (newest?.id !== last) return false
    await transaction.insertInto('data_keys').values(row).execute()
    return true
  })

/** Compare and swap. @returns false when another process wrapped it anew meanwhile. */
export const saveWrappedKey = async (
  db: Database,
  { id, wrapped_key }: Pick<DataKeyRow, 'id' | 'wrapped_key'>,
  newWrappedKey: string,
): Promise<boolean> => {
  const { numUpdatedRows } = await db
    .updateTable('data_keys')
    .set({ wrapped_key: newWrappedKey })
    .where('id', '=', id)
    .where('wrapped_key', '=', wrapped_key)
    .executeTakeFirstOrThrow()
  return numUpdatedRows > 0n
}

/** From now on no new ciphertext is made with them; they still open what they closed. */
export const retireDataKeys = async (db: Database, ids: string[], now: Date): Promise<void> => {
  if (ids.length === 0) return
  await db
    .updateTable('data_keys')
    .set({ retired_at: now })
    .where('id', 'in', ids)
    .where('retired_at', 'is', null)
    .execute()
}

export const findSigningKey = (db: Database, purpose: string): Promise<SigningKeyRow | undefined> =>
  db
    .selectFrom('signing_keys')
    .selectAll()
    .where('purpose', '=', purpose)
    .where('retired_at', 'is', null)
    .executeTakeFirst()

/** Retired ones too: what they signed can still be checked. */
export const listPublicKeys = (db: Database, purpose: string): Promise<SigningKeyRow[]> =>
  db.selectFrom('signing_keys').selectAll().where('purpose', '=', purpose).orderBy('id', 'desc').execute()

/** The first of several starting replicas wins. */
export const insertSigningKey = async (
  db: Database,
  row: Insertable<Tables['signing_keys']>,
): Promise<void> => {
  await db
    .insertInto('signing_keys')
    .values(row)
    .onConflict((conflict) => conflict.column('purpose').where('retired_at', 'is', null).doNothing())
    .execute()
}
