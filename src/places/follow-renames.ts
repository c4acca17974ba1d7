import { addSeconds } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { ConnectionRow } from '../db/tables.ts'
import { findAssociation } from '../gitlab/associations.ts'
import { isFineGrained } from '../gitlab/granular.ts'
import type { GitLabHttpClient } from '../gitlab/http-client.ts'
import { findPlaceById, findPlaceByPath, type Reach } from '../gitlab/reach.ts'
import { hasScope } from '../gitlab/scopes.ts'
import type { Place } from './place.ts'
import { findPlaces, noteLook, savePlaces } from './queries.ts'

type Renamable = Pick<ConnectionRow, 'id' | 'instance_id' | 'organization' | 'token_kind'>
type Looked = {
  row: Renamable
  token: string
  scopes: readonly string[]
  now: Date
  /** Nothing is asked when somebody asked so shortly before; 0 when left out. */
  notWithinSeconds?: number
}

/** A token for Git alone lists what it reaches: this many pages are read for one place. */
const MOST_PAGES = 5

/**
 * Asks GitLab how the places of a connection are called now, and where they are. A new path is added, and the former one
 * goes on to find the connection. An id that was not known is learned. What GitLab does not tell stays as it is.
 */
export const followRenames = async (
  db: Database,
  client: GitLabHttpClient,
  { row, token, scopes, now, notWithinSeconds = 0 }: Looked,
): Promise<void> => {
  if (!(await noteLook(db, row.id, { now, since: addSeconds(now, -notWithinSeconds) }))) return
  const look = lookWith(client, { row, token, scopes })
  if (!look) return
  const known = (await findPlaces(db, [row.id])).get(row.id) ?? []
  const current: Place[] = []
  for (const place of known) current.push(place.kind === 'instance' ? place : await look(place))
  const [first] = current
  if (!first || current.every((place, index) => isUnchanged(place, known[index]))) return
  await db.transaction().execute(async (transaction) => {
    await savePlaces(transaction, row, current)
    await noteLook(transaction, row.id, { now, since: now })
  })
}

const isUnchanged = (place: Place, known: Place | undefined): boolean =>
  place.path === known?.path && place.gitlabId === known.gitlabId && place.kind === known.kind

type Look = (place: Place) => Promise<Place>

/** By the API, else by what GitLab lists for the token itself; undefined = this token tells nothing. */
const lookWith = (
  client: GitLabHttpClient,
  { row, token, scopes }: Pick<Looked, 'row' | 'token' | 'scopes'>,
): Look | undefined => {
  if (hasScope(scopes, 'read_api')) return (place) => lookByApi(client, token, place)
  if (row.token_kind === 'oauth_access_token' || isFineGrained([...scopes])) return undefined
  return (place) => lookInList(client, token, place)
}

const lookByApi = async (client: GitLabHttpClient, token: string, place: Place): Promise<Place> => {
  const { kind, gitlabId, path } = place
  const reach: Reach =
    gitlabId !== null && (kind === 'group' || kind === 'project')
      ? await findPlaceById(client, token, { kind, id: gitlabId })
      : await findPlaceByPath(client, token, path)
  if (!reach.reached) return place
  return { kind: reach.place.kind, gitlabId: gitlabId ?? reach.place.id, path: reach.place.path }
}

const lookInList = async (client: GitLabHttpClient, token: string, place: Place): Promise<Place> => {
  const { kind, gitlabId } = place
  if (gitlabId === null) return place
  const isIt = (listed: { kind: string; id: string | null }) => listed.kind === kind && listed.id === gitlabId
  const found = await findAssociation(client, token, isIt, MOST_PAGES)
  return found && 'place' in found && found.place ? { ...place, path: found.place.path } : place
}
