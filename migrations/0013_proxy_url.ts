import { type Kysely, sql } from 'kysely'

/** null: the proxy of the environment, or none. A broker of an earlier version connects without the proxy, as before. */
export const up = async (db: Kysely<unknown>): Promise<void> => {
  await sql`alter table instances add column proxy_url text`.execute(db)
}
