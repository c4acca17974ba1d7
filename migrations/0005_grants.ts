import { type Kysely, sql } from 'kysely'

const STATEMENTS = [
  // Empty in rows of before: such a token descends from the grant that made the connection.
  'alter table connections add column grant_id uuid',
  `create table heartbeats (
    node_id uuid primary key,
    beat bigint not null,
    at timestamptz not null
  )`,
  `create table database_history (
    id integer primary key check (id = 1),
    went_back_at timestamptz not null
  )`,
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
