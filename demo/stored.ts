import { decodeProtectedHeader } from 'jose'
import { sql } from 'kysely'
import type { Database } from '../src/db/database.ts'

/** Looks at the database as somebody would who stole it. */
export const readStoredConnection = async (db: Database, id: string) => {
  const row = await db
    .selectFrom('connections')
    .select(['id', 'token_version', 'access_token', 'refresh_token'])
    .where('id', '=', id)
    .executeTakeFirstOrThrow()
  return { row, header: decodeProtectedHeader(row.access_token) }
}

/** Every row of every table as text: whatever is stored readably is in it. */
export const dumpDatabase = async (db: Database): Promise<string> => {
  const tables = await db.introspection.getTables()
  const dumps = await Promise.all(
    tables.map(async ({ schema, name }) => {
      const { rows } = await sql<{
        row: string
      }>`select t::text as row from ${sql.table(`${schema}.${name}`)} t`.execute(db)
      return rows.map(({ row }) => row).join('\n')
    }),
  )
  return dumps.join('\n')
}
