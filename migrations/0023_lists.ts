import { type Kysely, sql } from 'kysely'

/** Adds indexes alone: a broker of the version before goes on beside it. What is rare is in partial indexes. */
const STATEMENTS = [
  `create index connections_ended on connections (status, id) where status <> 'active'`,
  `create index connections_of_instance on connections (instance_id, id)`,
  `create index connections_to_rotate on connections (token_expires_at)
    where status = 'active' and auto_rotate and method = 'token'`,
  `create index connections_verified on connections (instance_id, last_verified_at desc nulls last)
    where status = 'active'`,
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
