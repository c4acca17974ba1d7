import { sql } from 'kysely'
import type { Database } from '../db/database.ts'
import type { ConnectionRow } from '../db/tables.ts'
import { matchPathOf, type Place } from './place.ts'

/** The places that connections cover, without the paths that they had before; by connection. */
export const findPlaces = async (
  db: Database,
  connectionIds: readonly string[],
): Promise<Map<string, Place[]>> => {
  const places = new Map<string, Place[]>(connectionIds.map((id) => [id, []]))
  if (connectionIds.length === 0) return places
  const rows = await db
    .selectFrom('connection_places')
    .select(['connection_id', 'kind', 'path'])
    .select(sql<string | null>`gitlab_id::text`.as('gitlab_id'))
    .where('connection_id', 'in', connectionIds)
    .where('is_former', '=', false)
    .orderBy('match_path')
    .execute()
  for (const { connection_id, kind, gitlab_id, path } of rows)
    places.get(connection_id)?.push({ kind, gitlabId: gitlab_id, path })
  return places
}

/**
 * Says what a connection covers. The path that a place had before stays as a former one: links and scanners know it.
 * What is no place of the connection any more goes with all its paths.
 */
export const savePlaces = async (
  transaction: Database,
  { id, instance_id, organization }: Pick<ConnectionRow, 'id' | 'instance_id' | 'organization'>,
  places: readonly Place[],
): Promise<void> => {
  const ids = places.flatMap(({ gitlabId }) => gitlabId ?? [])
  const paths = places.map(({ path }) => matchPathOf(path))
  const isKept = ids.length > 0 ? sql`coalesce(gitlab_id::text in (${sql.join(ids)}), false)` : sql`false`
  await transaction
    .deleteFrom('connection_places')
    .where('connection_id', '=', id)
    .where('match_path', 'not in', paths)
    .where(sql<boolean>`not ${isKept}`)
    .execute()
  await transaction
    .updateTable('connection_places')
    .set({ is_former: true })
    .where('connection_id', '=', id)
    .where('match_path', 'not in', paths)
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

/** Notes that GitLab is asked what the places are called. @returns whether nobody has asked since `since`. */
export const noteLook = async (
  db: Database,
  connectionId: string,
  { now, since }: { now: Date; since: Date },
): Promise<boolean> => {
  const { numUpdatedRows } = await db
    .updateTable('connection_places')
    .set({ looked_at: now })
    .where('connection_id', '=', connectionId)
    .where('is_former', '=', false)
    .where((where) => where.or([where('looked_at', 'is', null), where('looked_at', '<=', since)]))
    .executeTakeFirstOrThrow()
  return numUpdatedRows > 0n
}
