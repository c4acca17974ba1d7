import { type Kysely, sql } from 'kysely'

const STATEMENTS = [
  // What the next migrations lock as well, in the order in which deleting an instance does.
  'lock table instances in share row exclusive mode',
  // At once: a lock that grows while refreshes claim their rows would deadlock with them.
  'lock table connections in access exclusive mode',
  // Of any status: what a URL could get if it lived is looked up too, to say why it is not served.
  'create index connections_by_place on connections (instance_id, group_path, organization)',
  'drop index connections_by_url',
  // The account first: one index for identity and account, and none that looks cheap for a URL and walks all of an
  // instance or organization.
  'drop index connections_identity',
  `create unique index connections_identity
    on connections (gitlab_user_id, instance_id, organization, method, group_path)`,
  'drop index connections_by_account',
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
