import type { Database } from '../db/database.ts'
import type { ConnectionRow } from '../db/tables.ts'
import type { GitLabHttpClient } from '../gitlab/http-client.ts'
import { findPlaceById, findPlaceByPath, type Reach } from '../gitlab/reach.ts'
import { hasScope } from '../gitlab/scopes.ts'
import type { Place } from './place.ts'
import { findPlaces, savePlaces } from './queries.ts'

type Renamable = Pick<ConnectionRow, 'id' | 'instance_id' | 'organization'>

/**
 * Asks GitLab how the places of a connection are called now, and where they are. A new path is added, and the former one
 * goes on to find the connection. An id that was not known is learned. What GitLab does not tell stays as it is.
 */
export const followRenames = async (
  db: Database,
  client: GitLabHttpClient,
  { row, token, scopes }: { row: Renamable; token: string; scopes: readonly string[] },
): Promise<void> => {
  if (!hasScope(scopes, 'read_api')) return
  const known = (await findPlaces(db, [row.id])).get(row.id) ?? []
  const now: Place[] = []
  for (const place of known) now.push(await asItIsNow(client, token, place))
  const [first] = now
  if (!first || now.every((place, index) => isUnchanged(place, known[index]))) return
  await db.transaction().execute((transaction) => savePlaces(transaction, row, now))
}

const isUnchanged = (place: Place, known: Place | undefined): boolean =>
  place.path === known?.path && place.gitlabId === known.gitlabId && place.kind === known.kind

const asItIsNow = async (client: GitLabHttpClient, token: string, place: Place): Promise<Place> => {
  if (place.kind === 'instance') return place
  const { kind, gitlabId, path } = place
  const reach: Reach =
    gitlabId !== null && kind !== null
      ? await findPlaceById(client, token, { kind, id: gitlabId })
      : await findPlaceByPath(client, token, path)
  if (!reach.reached) return place
  return { kind: reach.place.kind, gitlabId: gitlabId ?? reach.place.id, path: reach.place.path }
}
