import { type Kysely, sql } from 'kysely'

const STATEMENTS = [
  // Until when a person may say yes to a grant that waits for one; past it the grant is to be dropped. A broker of an
  // earlier version does not read this column: it leaves such a grant alone because granted_at is null there.
  'alter table authorization_requests add column confirm_until timestamptz',
  'create index authorization_requests_by_session on authorization_requests (connect_session_id)',
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
