import { type Kysely, sql } from 'kysely'

/** Adds only, with a default: a broker of the version before goes on beside it, and reads SSH URLs as it did. */
const STATEMENTS = [
  `alter table instances add column ssh_hosts text[] not null default '{}'`,
  `update instances set ssh_hosts = array['altssh.gitlab.com'] where base_url = 'https://gitlab.com'`,
  `create index instances_by_host on instances (regexp_replace(split_part(base_url, '/', 3), ':[0-9]+$', ''))`,
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
