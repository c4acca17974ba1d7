import { sql } from 'kysely'
import { addSeconds } from '../clock/clock.ts'
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

type Placed = Pick<ConnectionRow, 'id' | 'instance_id' | 'organization'>

/**
 * Says what a connection covers. The path that a place had before stays as a former one: links and scanners know it.
 * What is no place of the connection any more goes with all its paths.
 */
export const savePlaces = async (
  transaction: Database,
  row: Placed,
  places: readonly Place[],
): Promise<void> => {
  const ids = places.flatMap(({ gitlabId }) => gitlabId ?? [])
  const paths = places.map(({ path }) => matchPathOf(path))
  const isKept = ids.length > 0 ? sql`coalesce(gitlab_id::text in (${sql.join(ids)}), false)` : sql`false`
  await transaction
    .deleteFrom('connection_places')
    .where('connection_id', '=', row.id)
    .where('match_path', 'not in', paths)
    .where(sql<boolean>`not ${isKept}`)
    .execute()
  await renamePlaces(transaction, row, places)
}

/** Says what the places of a connection are called now. Every path of before stays as a former one. */
export const renamePlaces = async (
  transaction: Database,
  { id, instance_id, organization }: Placed,
  places: readonly Place[],
): Promise<void> => {
  const paths = places.map(({ path }) => matchPathOf(path))
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

/** A day: somebody who renames a group tells its scanners within that time, or verifies the connection. */
const NEXT_LOOK_SECONDS = 86_400
/** Longer than a look takes: as long as one is under way, nobody else begins one. */
const FIRST_RETRY_SECONDS = 300
const MOST_DOUBLINGS = 9

/**
 * Notes that GitLab is asked what the places are called. Until it has told, it is asked again ever later, after a day at
 * the most: a broker that ends on the way leaves the look to the next.
 * @param since nobody is to have asked after this time; undefined = the look is to be due
 * @returns whether to ask now
 */
export const claimLook = async (
  db: Database,
  connectionId: string,
  { now, since }: { now: Date; since: Date | undefined },
): Promise<boolean> => {
  const retrySeconds = sql`least(${FIRST_RETRY_SECONDS} * 2 ^ least(look_failures, ${MOST_DOUBLINGS}), ${NEXT_LOOK_SECONDS})`
  const { numUpdatedRows } = await db
    .updateTable('connection_places')
    .set({
      looked_at: now,
      look_failures: sql`least(look_failures + 1, ${MOST_DOUBLINGS})`,
      look_due_at: sql`${now}::timestamptz + make_interval(secs => ${retrySeconds})`,
    })
    .where('connection_id', '=', connectionId)
    .where('is_former', '=', false)
    .where((where) =>
      since === undefined
        ? where('look_due_at', '<=', now)
        : where.or([where('looked_at', 'is', null), where('looked_at', '<=', since)]),
    )
    .executeTakeFirstOrThrow()
  return numUpdatedRows > 0n
}

/** Notes that GitLab has told what each place is called. */
export const endLook = async (db: Database, connectionId: string, now: Date): Promise<void> => {
  await db
    .updateTable('connection_places')
    .set({ looked_at: now, look_failures: 0, look_due_at: addSeconds(now, NEXT_LOOK_SECONDS) })
    .where('connection_id', '=', connectionId)
    .where('is_former', '=', false)
    .execute()
}

/** Keeps whoever stores another token or other places waiting. @returns whether the token is still the one of this version. */
export const lockForRenames = async (
  transaction: Database,
  connectionId: string,
  tokenVersion: number,
): Promise<boolean> => {
  const row = await transaction
    .selectFrom('connections')
    .select('id')
    .where('id', '=', connectionId)
    .where('token_version', '=', tokenVersion)
    .forNoKeyUpdate()
    .executeTakeFirst()
  return row !== undefined
}
