import { type Kysely, sql } from 'kysely'

const STATEMENTS = [
  // Of a device grant (RFC 8628): the codes, sealed, while GitLab is asked for the tokens; when it is asked next, and
  // how many seconds lie between; and how the grant came out. A broker of an earlier version does not ask.
  `alter table authorization_requests
    add column device_jwe text,
    add column poll_at timestamptz,
    add column poll_seconds integer,
    add column outcome jsonb`,
  'create index authorization_requests_poll_at on authorization_requests (poll_at) where device_jwe is not null',
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
