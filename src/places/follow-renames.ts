import { addSeconds } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { ConnectionRow } from '../db/tables.ts'
import { findAssociation } from '../gitlab/associations.ts'
import { askGit } from '../gitlab/git-endpoint.ts'
import { isFineGrained } from '../gitlab/granular.ts'
import type { GitLabHttpClient } from '../gitlab/http-client.ts'
import { findPlaceById, findPlaceByPath, type Reach } from '../gitlab/reach.ts'
import { hasScope } from '../gitlab/scopes.ts'
import type { Place } from './place.ts'
import { claimLook, endLook, findPlaces, lockForRenames, renamePlaces } from './queries.ts'

type Renamable = Pick<ConnectionRow, 'id' | 'instance_id' | 'organization' | 'token_kind'>
type Looked = {
  row: Renamable
  token: string
  /** Of the token. A stored token of another version may belong to somebody else, with other places. */
  tokenVersion: number
  scopes: readonly string[]
  now: Date
}

/** A token for Git alone lists what it reaches: this many pages are read for one place. */
const MOST_PAGES = 5

/**
 * Asks GitLab how the places of a connection are called now, and where they are. A new path is added, and the former one
 * goes on to find the connection. An id that was not known is learned. What GitLab does not tell stays as it is.
 * @param notWithinSeconds nothing is asked when somebody asked so shortly before
 */
export const followRenames = async (
  db: Database,
  client: GitLabHttpClient,
  looked: Looked,
  notWithinSeconds = 0,
): Promise<void> => {
  const { row, now } = looked
  if (await claimLook(db, row.id, { now, since: addSeconds(now, -notWithinSeconds) }))
    await followClaimed(db, client, looked)
}

/** The same for whoever has claimed the look. Where the token or the places are others meanwhile, nothing changes. */
export const followClaimed = async (
  db: Database,
  client: GitLabHttpClient,
  { row, token, tokenVersion, scopes, now }: Looked,
): Promise<void> => {
  const look = lookWith(client, { row, token, scopes })
  const known = (await findPlaces(db, [row.id])).get(row.id) ?? []
  const told: (Place | undefined)[] = []
  for (const place of known) told.push(place.kind === 'instance' ? place : await look(place))
  const current = known.map((place, index) => told[index] ?? place)
  const hasToldAll = !told.includes(undefined)
  await db.transaction().execute(async (transaction) => {
    if (!(await lockForRenames(transaction, row.id, tokenVersion))) return
    const places = (await findPlaces(transaction, [row.id])).get(row.id) ?? []
    if (places.length === 0 || !areUnchanged(places, known)) return
    if (!areUnchanged(current, known)) await renamePlaces(transaction, row, current)
    if (hasToldAll) await endLook(transaction, row.id, now)
  })
}

const areUnchanged = (places: readonly Place[], known: readonly Place[]): boolean =>
  places.length === known.length && places.every((place, index) => isUnchanged(place, known[index]))

const isUnchanged = (place: Place, known: Place | undefined): boolean =>
  place.path === known?.path && place.gitlabId === known.gitlabId && place.kind === known.kind

/** @returns the place as GitLab tells it, or as it was where nothing more can be learned; undefined = GitLab could not be asked now */
type Look = (place: Place) => Promise<Place | undefined>

/** By the API, else by what GitLab lists for the token itself, else by where Git is led to. */
const lookWith = (
  client: GitLabHttpClient,
  { row, token, scopes }: Pick<Looked, 'row' | 'token' | 'scopes'>,
): Look => {
  if (hasScope(scopes, 'read_api')) return (place) => lookByApi(client, token, place)
  if (row.token_kind === 'oauth_access_token' || isFineGrained([...scopes]))
    return (place) => lookByGit(client, token, place)
  return (place) => lookInList(client, token, place)
}

const lookByApi = async (
  client: GitLabHttpClient,
  token: string,
  place: Place,
): Promise<Place | undefined> => {
  const { kind, gitlabId, path } = place
  const reach: Reach =
    gitlabId !== null && (kind === 'group' || kind === 'project')
      ? await findPlaceById(client, token, { kind, id: gitlabId })
      : await findPlaceByPath(client, token, path)
  if (!reach.reached) return reach.refusal ? undefined : place
  return { kind: reach.place.kind, gitlabId: gitlabId ?? reach.place.id, path: reach.place.path }
}

const lookInList = async (
  client: GitLabHttpClient,
  token: string,
  place: Place,
): Promise<Place | undefined> => {
  const { kind, gitlabId } = place
  if (gitlabId === null) return lookByGit(client, token, place)
  const isIt = (listed: { kind: string; id: string | null }) => listed.kind === kind && listed.id === gitlabId
  const found = await findAssociation(client, token, isIt, MOST_PAGES)
  if (found && 'refusal' in found) return undefined
  return found?.place ? { ...place, path: found.place.path } : place
}

/** GitLab leads Git from the former path of a project to its path now. Of a group that tells nothing. */
const lookByGit = async (
  client: GitLabHttpClient,
  token: string,
  place: Place,
): Promise<Place | undefined> => {
  if (place.kind !== 'project') return place
  const { reply, movedTo } = await askGit(client, place.path, token)
  if (reply.kind === 'unavailable') return undefined
  return reply.kind === 'opens' && movedTo !== undefined ? { ...place, path: movedTo } : place
}
