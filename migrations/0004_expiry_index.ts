import { type Kysely, sql } from 'kysely'

// A token can be refreshed with a refresh token and an app, so one that lacks either ends like a pasted one. The index
// of before had those without a refresh token alone; this one serves the statement of an older broker too.
const STATEMENTS = [
  // At once, not by and by: whoever reads the table and then waits to write would be in each other's way with the drop.
  'lock table connections in access exclusive mode',
  `create index connections_to_expire_next on connections (token_expires_at)
    where status = 'active' and (refresh_token is null or oauth_app_id is null)`,
  'drop index connections_to_expire',
  'alter index connections_to_expire_next rename to connections_to_expire',
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
