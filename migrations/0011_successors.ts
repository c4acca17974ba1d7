import { type Kysely, sql } from 'kysely'

const STATEMENTS = [
  `alter table connections add column labels jsonb not null default '{}'`,
  `create index connections_by_label on connections using gin (labels) where labels <> '{}'`,
  // What a connect link is for. A broker of an earlier version does not read these columns: it connects anew what a link
  // of a newer one was to reconnect, and takes an ended link for an expired one, because expires_at is set too.
  `alter table connect_sessions
    add column connection_id uuid,
    add column base_url text,
    add column group_path text,
    add column labels jsonb not null default '{}',
    add column ended_at timestamptz`,
  'create index connect_sessions_by_organization on connect_sessions (organization, id)',
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
