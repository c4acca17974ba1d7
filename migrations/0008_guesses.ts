import { type Kysely, sql } from 'kysely'

/** How often an address guessed at what it may not know, over all replicas. Unlogged: what a crash forgets is a minute old. */
export const up = async (db: Kysely<unknown>): Promise<void> => {
  await sql`create unlogged table guesses (
    source text primary key,
    guesses integer not null,
    ends_at timestamptz not null
  )`.execute(db)
  await sql`create index guesses_by_end on guesses (ends_at)`.execute(db)
}
