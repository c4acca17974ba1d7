import type { TokenKind } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { findAssociation, findHomes } from '../gitlab/associations.ts'
import { proveClone } from '../gitlab/clone-proof.ts'
import { askGit } from '../gitlab/git-endpoint.ts'
import type { GitLabHttpClient } from '../gitlab/http-client.ts'
import type { TokenFacts } from '../gitlab/inspect-token.ts'
import { type FoundPlace, findPlaceById, findPlaceByPath } from '../gitlab/reach.ts'
import { type Refusal, refusalProblem, toLegacyToken } from '../gitlab/refusal.ts'
import { hasScope } from '../gitlab/scopes.ts'
import { matchPathOf, type Place, WHOLE_INSTANCE } from '../places/place.ts'

export type Places = readonly [Place, ...Place[]]

export type FoundPlaces =
  /** @property kind of the token, now that it is known what it belongs to. */
  | { found: Places; kind: TokenKind }
  /** GitLab does not tell what the token reaches: somebody has to name the group or project. */
  | { found: undefined; kind: TokenKind }
  | { refused: Problem }

/**
 * The same for a token that takes the place of another, whose places it must reach. The whole instance may become less:
 * what the new token says that it covers.
 */
export const findAllPlaces = async (
  find: (named: NamedPlace | undefined) => Promise<FoundPlaces>,
  held: readonly Place[],
): Promise<FoundPlaces> => {
  const [first, ...others] = held.filter(({ path }) => path !== WHOLE_INSTANCE.path)
  const found = await find(first)
  if ('refused' in found || !found.found) return found
  const places: [Place, ...Place[]] = [...found.found]
  for (const place of others) {
    const next = await find(place)
    if ('refused' in next) return next
    places.push(...(next.found ?? []))
  }
  return { ...found, found: places }
}

/** By its path, and by its id where that is known: the path may have changed since. */
export type NamedPlace = Pick<Place, 'path'> & Partial<Place>

type Asked = { client: GitLabHttpClient; token: string; facts: TokenFacts }

/**
 * What a connection by this token covers.
 *
 * - A group or project access token: its group or project, or what is named below its group.
 * - A token of a person: what is named, or else the whole instance.
 * - Nobody can tell whose it is, and it reaches one group or one project alone: that, as the token of an account. GitLab
 *   tells nobody without a token who an account is, and the bot of a group reaches no more than a person may.
 * - What is named must be reached: by the API, else among what GitLab lists for the token, else over Git.
 *
 * @param named the group or project that is named; undefined = nobody named one.
 */
export const findPlaces = async (
  client: GitLabHttpClient,
  token: string,
  facts: TokenFacts,
  named: NamedPlace | undefined,
): Promise<FoundPlaces> => {
  const asked = { client, token, facts }
  const home = await findHome(asked)
  if ('refusal' in home) return { refused: refusalProblem(home.refusal) }
  const { kind, place } = home
  if (named === undefined) {
    if ('only' in home) return coverOnly(asked, home.only)
    if (place) return { found: [toPlace(place)], kind }
    return { found: kind === 'unknown' ? undefined : [WHOLE_INSTANCE], kind: facts.kind }
  }
  const tokenKind = kind === 'unknown' ? facts.kind : kind
  if (place) {
    if (isNamed(place, named)) return { found: [toPlace(place)], kind: tokenKind }
    if (!isBelow(named.path, place)) return { refused: notTheHome(place) }
  }
  const proof = await prove(asked, named)
  if ('problem' in proof) return { refused: proof.problem }
  if (isAnotherProject(facts, proof.place)) return { refused: outOfReach() }
  return { found: [toPlace(proof.place)], kind: tokenKind }
}

/** All that the token reaches now, once Git agrees. */
const coverOnly = async ({ client, token, facts }: Asked, { place, project }: Only): Promise<FoundPlaces> => {
  const problem = await refusedByGit(client, token, project)
  return problem ? { refused: problem } : { found: [toPlace(place)], kind: facts.kind }
}

const isNamed = ({ kind, id, path }: FoundPlace, named: NamedPlace): boolean =>
  named.gitlabId && id !== null
    ? id === named.gitlabId && kind === named.kind
    : matchPathOf(path) === matchPathOf(named.path)

const toPlace = ({ kind, id, path }: FoundPlace): Place => ({ kind, gitlabId: id, path })

/** A public project opens for the bot of another one too. */
const isAnotherProject = ({ home }: TokenFacts, { kind, id }: FoundPlace): boolean =>
  home?.kind === 'project' && (kind === 'group' || (id !== null && id !== home.id))

/** Nothing lies below a project. */
const isBelow = (path: string, { kind, path: home }: FoundPlace): boolean =>
  kind === 'group' && matchPathOf(path).startsWith(`${matchPathOf(home)}/`)

/** kind 'unknown' = nobody can tell whether it is a person's or a bot's, or where the bot belongs. */
type Home =
  | { kind: TokenKind; place: FoundPlace }
  | { kind: TokenKind | 'unknown'; place: undefined }
  /** Of a person, or of the bot of that place. */
  | { kind: TokenKind; place: undefined; only: Only }
  | { refusal: Refusal }

/** All that a token reaches. @property project a project in it; undefined = GitLab lists none */
type Only = { place: FoundPlace; project: string | undefined }

const isOutage = (refusal: Refusal | undefined): refusal is Refusal => refusal?.code === 'gitlab_unavailable'

/** The group or project that the token belongs to. */
const findHome = async ({ client, token, facts }: Asked): Promise<Home> => {
  const { kind, home, user, scopes } = facts
  if (kind === 'oauth_access_token') return { kind, place: undefined }
  if (home) {
    if (hasScope(scopes, 'read_api')) {
      const reach = await findPlaceById(client, token, home)
      if (reach.reached) return { kind, place: { ...reach.place, id: home.id } }
      if (isOutage(reach.refusal)) return { refusal: reach.refusal }
    }
    const listed = await findAssociation(client, token, (it) => it.kind === home.kind && it.id === home.id)
    if (listed && 'refusal' in listed) return listed
    return listed?.place ? { kind, place: listed.place } : { kind: 'unknown', place: undefined }
  }
  if (user.username !== null) return { kind, place: undefined }
  // The scopes do not let GitLab say whose the token is. A bot reaches its one group or its one project, a person may too.
  const listed = await findHomes(client, token)
  if (!listed) return { kind: 'unknown', place: undefined }
  if ('refusal' in listed) return listed
  const [only, ...others] = listed.homes
  if (!only || others.length > 0) return { kind, place: undefined }
  return { kind, place: undefined, only: { place: only, project: listed.projects[0] } }
}

/** Whether the token reaches what was named. */
const prove = async (
  { client, token, facts }: Asked,
  named: NamedPlace,
): Promise<{ place: FoundPlace } | { problem: Problem }> => {
  if (hasScope(facts.scopes, 'read_api')) {
    const { kind, gitlabId: id, path } = named
    const reach =
      id && (kind === 'group' || kind === 'project')
        ? await findPlaceById(client, token, { kind, id })
        : await findPlaceByPath(client, token, path)
    if (reach.reached) return { place: reach.place }
    return { problem: reach.refusal ? refusalProblem(toLegacyToken(reach.refusal)) : outOfReach() }
  }
  const listed =
    facts.kind === 'oauth_access_token'
      ? undefined
      : await findAssociation(client, token, (place) => isNamed(place, named))
  if (listed && 'refusal' in listed) return { problem: refusalProblem(listed.refusal) }
  if (listed?.place) {
    const problem = await refusedByGit(client, token, listed.project)
    return problem ? { problem } : { place: listed.place }
  }
  const proof = await proveClone(client, token, named.path)
  switch (proof.kind) {
    case 'proven':
      return { place: { kind: 'project', id: null, path: proof.path } }
    case 'public':
      return { problem: listed ? outOfReach() : provesNothing() }
    case 'refused':
    case 'unavailable':
      return { problem: refusalProblem(toLegacyToken(proof.refusal)) }
    default:
      return {
        problem: listed ? outOfReach() : onlyProjects(),
      }
  }
}

/**
 * GitLab lists what a token reaches also where a rule of the group keeps it from Git: single sign-on, addresses,
 * fine-grained tokens only. Git tells that.
 */
const refusedByGit = async (
  client: GitLabHttpClient,
  token: string,
  project: string | undefined,
): Promise<Problem | undefined> => {
  if (project === undefined) return undefined
  const { reply } = await askGit(client, project, token)
  return reply.kind === 'unavailable' || reply.kind === 'refused'
    ? refusalProblem(toLegacyToken(reply.refusal))
    : undefined
}

const outOfReach = (): Problem =>
  new Problem(
    'group_out_of_reach',
    'The token does not reach this group: it is misspelt, or the owner of the token is not a member.',
  )

const onlyProjects = (): Problem =>
  new Problem(
    'missing_scopes',
    'The token does not clone what is named, and without read_api nothing else can be checked: name a private project that it can clone (group/project), or create a token with read_api at GitLab.',
    { members: { missing_scopes: ['read_api'] } },
  )

const provesNothing = (): Problem =>
  new Problem(
    'clone_right_unproven',
    'This project is public: cloning it proves nothing about the token. Name a private project or group, or give the token the scope read_api.',
    { errors: [{ field: 'group', message: 'has to name a private project or group' }] },
  )

const notTheHome = ({ kind, path }: FoundPlace): Problem =>
  new Problem(
    'group_out_of_reach',
    kind === 'project'
      ? `This is the token of the project ${path}, and reaches nothing else.`
      : `This is the token of the group ${path}, and reaches nothing outside of it.`,
  )

/** Somebody has to say what a token reaches, because GitLab does not. */
export const groupRequired = (): Problem =>
  new Problem(
    'group_required',
    'GitLab does not tell what this token reaches. Name a private project that it can clone (group/project); a token with read_api may name a group as well.',
    { errors: [{ field: 'group', message: 'is missing: GitLab does not tell what the token reaches' }] },
  )
