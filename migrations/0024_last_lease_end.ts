import { type Kysely, sql } from 'kysely'

/**
 * Adds only. A statement sees what was there when the statement began; the query of a volatile function sees what is there
 * when the function is called. So a statement that has locked a connection learns here of leases that were given while it
 * waited for nobody and yet began before them.
 */
const STATEMENTS = [
  `create function last_lease_end(
    of_connection uuid, of_version integer, except_lease uuid, except_key uuid, now timestamptz
  ) returns timestamptz language plpgsql volatile set search_path from current as $$
  begin
    return (
      select max(expires_at) from leases
      where connection_id = of_connection and token_version = of_version and released_at is null
        and expires_at > now and id is distinct from except_lease and access_key_id <> except_key
    );
  end $$`,
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
