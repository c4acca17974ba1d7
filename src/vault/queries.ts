import { type Insertable, sql } from 'kysely'
import type { Database } from '../db/database.ts'
import type { DataKeyRow, Tables } from '../db/tables.ts'

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
