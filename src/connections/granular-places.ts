import { Problem } from '../errors/problem.ts'
import { readPlace } from '../gitlab/answers.ts'
import { proveClone } from '../gitlab/clone-proof.ts'
import { DOWNLOAD_CODE, type GranularPlace } from '../gitlab/granular.ts'
import type { GitLabHttpClient } from '../gitlab/http-client.ts'
import type { TokenFacts } from '../gitlab/inspect-token.ts'
import { type Refusal, refusalOf, refusalProblem } from '../gitlab/refusal.ts'
import { type Place, WHOLE_INSTANCE } from '../places/place.ts'
import type { Places } from './find-places.ts'

/** Fine-grained tokens are those of accounts, never those of a group or project. */
const KIND = 'personal_access_token'
type Found = { found: Places; kind: typeof KIND } | { refused: Problem }

const covering = (...places: Places): Found => ({ found: places, kind: KIND })

type Asked = { client: GitLabHttpClient; token: string; facts: TokenFacts }

/** More are not asked about while a person waits. */
const MOST_PLACES = 20
/** Of a group: where one opens, the others do. */
const MOST_PROJECTS_TRIED = 3

/**
 * What a connection by a fine-grained token covers. The scope of such a token tells nothing: GitLab tells its rights since
 * 19.6, and before that only the Git endpoint of a private project shows that the token may clone.
 *
 * @param named path of a group or project; undefined = nobody named one
 */
export const findGranularPlaces = async (asked: Asked, named: string | undefined): Promise<Found> => {
  const { rights } = asked.facts
  if (rights?.mayDownload === false) return { refused: lacksDownload() }
  if (named !== undefined) return proveNamed(asked, named)
  if (!rights) return { refused: unproven('GitLab does not tell what this fine-grained token may do.') }
  if (rights.downloads === 'everywhere') return covering(WHOLE_INSTANCE)
  return rights.downloads.length === 0 ? ownProjects(asked) : findAll(asked, rights.downloads)
}

/** The namespace of a person has the name of the person. */
const ownProjects = ({ facts: { user } }: Asked): Found =>
  user.username === null
    ? { refused: unproven('The token is for the projects of its owner, and may not tell who that is.') }
    : covering({ kind: null, gitlabId: null, path: user.username })

const findAll = async (asked: Asked, places: GranularPlace[]): Promise<Found> => {
  const found: Place[] = []
  for (const { kind, id } of places.slice(0, MOST_PLACES)) {
    const answer = await asked.client.send({ path: `/api/v4/${kind}s/${id}`, token: asked.token })
    const place = answer.kind === 'answer' && answer.status === 200 ? readPlace(answer.body) : undefined
    if (place) found.push({ kind, gitlabId: id, path: place.path })
    const refusal = outage(refusalOf(answer, asked.client.baseUrl))
    if (refusal) return { refused: refusalProblem(refusal) }
  }
  const [first, ...others] = found
  return first && found.length === places.length
    ? covering(first, ...others)
    : { refused: unproven('The token may not read the names of the groups and projects that it is for.') }
}

const proveNamed = async (asked: Asked, named: string): Promise<Found> => {
  const { client, token } = asked
  const proof = await proveClone(client, token, named)
  switch (proof.kind) {
    case 'proven':
      return covering(await describe(asked, 'project', proof.path))
    case 'public':
      return { refused: unproven('This project is public: cloning it proves nothing about the token.') }
    case 'refused':
    case 'unavailable':
      return { refused: toProblem(proof.refusal) }
    case 'closed':
    case 'moved':
    case 'sign_in':
      return proveGroup(asked, named)
  }
}

type Listed = { path: string; isPublic: boolean }

const proveGroup = async (asked: Asked, named: string): Promise<Found> => {
  const { client, token } = asked
  const query = 'include_subgroups=true&simple=false&per_page=100&archived=false'
  const answer = await client.send({
    path: `/api/v4/groups/${encodeURIComponent(named)}/projects?${query}`,
    token,
  })
  const refusal = refusalOf(answer, client.baseUrl)
  if (refusal?.lacksPermission)
    return { refused: unproven('The token may not list the projects of this group (Project: Read).') }
  if (refusal) return { refused: refusalProblem(refusal) }
  if (answer.kind !== 'answer' || answer.status !== 200) return { refused: outOfReach() }
  const projects = readProjects(answer.body)
  const secret = projects.filter(({ isPublic }) => !isPublic).slice(0, MOST_PROJECTS_TRIED)
  for (const { path } of secret) {
    const proof = await proveClone(client, token, path)
    if (proof.kind === 'proven') return covering(await describe(asked, 'group', named))
    if (proof.kind === 'refused' || proof.kind === 'unavailable') return { refused: toProblem(proof.refusal) }
  }
  return { refused: unproven('There is no private project in this group that the token opens.') }
}

const readProjects = (body: unknown): Listed[] =>
  (Array.isArray(body) ? body.slice(0, 100) : []).flatMap((project) => {
    const place = readPlace(project)
    return place ? [{ path: place.path, isPublic: project?.visibility === 'public' }] : []
  })

/** Id and spelling, where the token may read them; else as the person wrote it. */
const describe = async (
  { client, token }: Asked,
  kind: 'group' | 'project',
  named: string,
): Promise<Place> => {
  const answer = await client.send({ path: `/api/v4/${kind}s/${encodeURIComponent(named)}`, token })
  const place = answer.kind === 'answer' && answer.status === 200 ? readPlace(answer.body) : undefined
  return place ? { kind, gitlabId: place.id, path: place.path } : { kind, gitlabId: null, path: named }
}

const outage = (refusal: Refusal | undefined): Refusal | undefined =>
  refusal?.code === 'gitlab_unavailable' ? refusal : undefined

/** What Git refuses. */
const toProblem = (refusal: Refusal): Problem =>
  refusal.code === 'missing_scopes' ? lacksDownload() : refusalProblem(refusal)

const lacksDownload = (): Problem =>
  new Problem(
    'missing_scopes',
    'The fine-grained token lacks the permission "Code: Download" for this. Nobody can add permissions to a token: create one with it at GitLab.',
    { members: { missing_scopes: [DOWNLOAD_CODE] } },
  )

const unproven = (why: string): Problem =>
  new Problem(
    'clone_right_unproven',
    `${why} Name a private project or group that it may clone: the right is proven there.`,
    { errors: [{ field: 'group', message: 'has to name a private project or group' }] },
  )

const outOfReach = (): Problem =>
  new Problem(
    'group_out_of_reach',
    'The token does not reach this group or project: it is misspelt, or lies outside of what the token is for.',
  )
