import { type Kysely, sql } from 'kysely'

/** Takes away what lookups by URL used before they had directories: a version that knows directories can live with it. */
export const oldestNeighbour = '0014_directories'

const STATEMENTS = [
  'drop trigger renew_matches_of_added on connections',
  'drop trigger renew_matches_of_moved on connections',
  'drop trigger renew_matches_of_instance on instances',
  'drop function renew_matches_of_added()',
  'drop function renew_matches_of_moved()',
  'drop function renew_matches_of_instance()',
  'drop table match_versions',
  'drop index connections_by_place',
  'drop index connections_by_top_group',
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
