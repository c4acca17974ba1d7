import { type Kysely, sql } from 'kysely'

/**
 * When GitLab was last asked what a place is called (null = never since), and when it is asked next. Adds only: a broker
 * of the version before goes on beside it, and looks at names when a token is verified, as it did.
 */
export const up = async (db: Kysely<unknown>): Promise<void> => {
  await sql`alter table connection_places
    add column looked_at timestamptz,
    add column look_due_at timestamptz not null default '-infinity',
    add column look_failures smallint not null default 0`.execute(db)
  await sql`create index connection_places_to_look_at on connection_places (look_due_at, connection_id)
    where not is_former and kind is distinct from 'instance'`.execute(db)
}
