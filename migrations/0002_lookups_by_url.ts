import { type Kysely, sql } from 'kysely'

/** Of any status: what a URL could get if it lived is looked up too, to say why it is not served. */
const STATEMENTS = [
  'create index connections_by_place on connections (instance_id, group_path, organization)',
  'drop index connections_by_url',
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
