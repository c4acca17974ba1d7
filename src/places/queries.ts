import { sql } from 'kysely'
import type { Database } from '../db/database.ts'
import type { ConnectionRow } from '../db/tables.ts'
import { matchPathOf, type Place } from './place.ts'

/** Says what a connection covers. Former paths of its places stay. */
export const savePlaces = async (
  transaction: Database,
  { id, instance_id, organization }: Pick<ConnectionRow, 'id' | 'instance_id' | 'organization'>,
  places: readonly Place[],
): Promise<void> => {
  await transaction
    .deleteFrom('connection_places')
    .where('connection_id', '=', id)
    .where('is_former', '=', false)
    .where(
      'match_path',
      'not in',
      places.map(({ path }) => matchPathOf(path)),
    )
    .execute()
  await transaction
    .insertInto('connection_places')
    .values(
      places.map(({ kind, gitlabId, path }) => ({
        connection_id: id,
        instance_id,
        organization,
        kind,
        gitlab_id: gitlabId,
        path,
        match_path: matchPathOf(path),
      })),
    )
    .onConflict((conflict) =>
      conflict.columns(['connection_id', 'match_path']).doUpdateSet({
        // What is known stays known: a place is not always asked about again.
        kind: sql`coalesce(excluded.kind, connection_places.kind)`,
        gitlab_id: sql`coalesce(excluded.gitlab_id, connection_places.gitlab_id)`,
        path: sql`excluded.path`,
        is_former: false,
      }),
    )
    .execute()
}
