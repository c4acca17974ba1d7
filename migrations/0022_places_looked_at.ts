import { type Kysely, sql } from 'kysely'

/**
 * When GitLab was last asked what a place is called; null = never since. Adds only: a broker of the version before goes
 * on beside it, and looks at names when a token is verified, as it did.
 */
export const up = async (db: Kysely<unknown>): Promise<void> => {
  await sql`alter table connection_places add column looked_at timestamptz`.execute(db)
  await sql`create index connection_places_to_look_at on connection_places (looked_at nulls first)
    where not is_former and kind <> 'instance'`.execute(db)
}
