import type { ConnectionRow, Method, TokenKind } from '../db/tables.ts'
import { matchPathOf, type Place } from '../places/place.ts'

/** Pure: who a connection is, and who may take its place. */

export type Holder = {
  method: Method
  kind: TokenKind
  userId: string
  places: readonly Place[]
  /** A token whose scopes do not let GitLab say whose it is. */
  isNameless: boolean
}

/**
 * - `same`: the same account.
 * - `successor`: a new group or project access token of the same group or project. GitLab gives each a bot of its own.
 *   Tokens that may be such ones count when both reach the same one group or project, and nothing else.
 * - `other`: somebody else, whom a person has to accept.
 */
export type Succession = 'same' | 'successor' | 'other'

export const judgeSuccession = (held: Holder, given: Holder): Succession => {
  if (held.userId === given.userId) return 'same'
  const [home, ...others] = given.places
  const areNameless = given.isNameless && held.isNameless && typeof home?.gitlabId === 'string'
  if (!areNameless && !(isOfBot(given) && held.kind === given.kind)) return 'other'
  if (!home || others.length > 0) return 'other'
  return held.places.length === 1 && isSamePlace(home, held.places[0]) ? 'successor' : 'other'
}

const isOfBot = ({ kind }: Holder): boolean =>
  kind === 'group_access_token' || kind === 'project_access_token'

/** By the id where both are known: another group may have the path of one that was renamed. */
const isSamePlace = (one: Place, other: Place | undefined): boolean => {
  if (!other) return false
  if (one.gitlabId !== null && other.gitlabId !== null)
    return one.gitlabId === other.gitlabId && one.kind === other.kind
  return matchPathOf(one.path) === matchPathOf(other.path)
}

/** Whether two connections cover the same, in whatever order. */
export const areSamePlaces = (one: readonly Place[], other: readonly Place[]): boolean =>
  one.length === other.length && one.every((place) => other.some((known) => isSamePlace(place, known)))

/** What is in the column group_path: paths cannot contain the commas. */
export const identityPathOf = (places: readonly Place[]): string =>
  places
    .map(({ path }) => matchPathOf(path))
    .sort()
    .join(',')

/** The same for a connection beside another of the same account and places. */
export const besides = (identityPath: string, id: string): string => `${identityPath}#${id}`

export const holderOf = (row: ConnectionRow, places: readonly Place[]): Holder => ({
  method: row.method,
  kind: row.token_kind,
  userId: row.gitlab_user_id,
  places,
  isNameless: isNameless(row.token_kind, row.gitlab_username, row.scopes),
})

/** Fine-grained tokens are never those of a bot. */
export const isNameless = (kind: TokenKind, username: string | null, scopes: readonly string[]): boolean =>
  username === null && kind !== 'oauth_access_token' && !scopes.includes('granular')
