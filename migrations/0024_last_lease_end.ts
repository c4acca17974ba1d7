import { type Kysely, sql } from 'kysely'

/**
 * Adds only. A statement sees the leases that were there when it began. The query of a volatile function sees those that
 * are there when the function is called: also one that was given after the statement began and before it locked the
 * connection.
 */
const STATEMENTS = [
  `create function last_lease_end(
    of_connection uuid, of_version integer, except_lease uuid, except_key uuid, at_time timestamptz
  ) returns timestamptz language plpgsql volatile set search_path from current as $$
  begin
    return (
      select max(expires_at) from leases
      where connection_id = of_connection and token_version = of_version and released_at is null
        and expires_at > at_time and id is distinct from except_lease and access_key_id <> except_key
    );
  end $$`,
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
