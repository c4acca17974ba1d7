import { type AssociationsAnswer, readAssociations } from './answers.ts'
import type { GitLabHttpClient } from './http-client.ts'
import type { FoundPlace } from './reach.ts'
import { type Refusal, refusalOf } from './refusal.ts'

/** GitLab's largest page. */
const PER_PAGE = 100
/** 20,000 groups: more than a token is asked about while a person waits. */
const MOST_PAGES = 200
/** Minimal access and guest are below; without a level GitLab lists what is public too. */
const LEAST_ACCESS_LEVEL = 10

/** What GitLab lists for a token, page after page. undefined = a server before 17.4, or it does not say. */
type Page = AssociationsAnswer | { refusal: Refusal } | undefined

const readPage = async (client: GitLabHttpClient, token: string, page: number): Promise<Page> => {
  const query = `min_access_level=${LEAST_ACCESS_LEVEL}&per_page=${PER_PAGE}&page=${page}`
  const path = `/api/v4/personal_access_tokens/self/associations?${query}`
  const answer = await client.send({ path, token })
  if (answer.kind === 'answer' && answer.status === 200) return readAssociations(answer.body)
  const refusal = refusalOf(answer, client.baseUrl)
  return refusal?.code === 'gitlab_unavailable' ? { refusal } : undefined
}

/** GitLab pages both lists by one number, and its headers tell of the second list alone: a full list has a next page. */
const isFull = (list: readonly unknown[]): boolean => list.length >= PER_PAGE

/** A refusal: GitLab could not be asked now. undefined: GitLab does not tell. */
export type Homes = { homes: FoundPlace[]; projects: string[] } | { refusal: Refusal } | undefined

/**
 * The places of which a token reaches all there is: the groups whose parent it does not reach, and the projects outside
 * of them. Any scope is enough. Two homes say all that there is to know: more are not looked for.
 */
export const findHomes = async (client: GitLabHttpClient, token: string): Promise<Homes> => {
  const found: AssociationsAnswer = { groups: [], projects: [] }
  for (let page = 1; page <= MOST_PAGES; page += 1) {
    const answer = await readPage(client, token, page)
    if (!answer || 'refusal' in answer) return answer
    found.groups.push(...answer.groups)
    found.projects.push(...answer.projects)
    if (isFull(answer.groups)) continue
    const homes = homesIn(found)
    if (homes.length > 1 || found.groups.length > 0 || !isFull(answer.projects))
      return { homes, projects: found.projects.map(({ path }) => path) }
  }
  return undefined
}

const homesIn = ({ groups, projects }: AssociationsAnswer): FoundPlace[] => {
  const ids = new Set(groups.map(({ id }) => id))
  const tops = groups.filter(({ parentId }) => parentId === null || !ids.has(parentId))
  const outside = projects.filter(({ path }) => !tops.some((top) => isIn(path, top)))
  return [
    ...tops.map(({ id, path }): FoundPlace => ({ kind: 'group', id, path })),
    ...outside.map(({ id, path }): FoundPlace => ({ kind: 'project', id, path })),
  ]
}

/** @property project a project in the place; undefined = none was seen on the way to it */
export type Association =
  | { place: FoundPlace; project: string | undefined }
  | { refusal: Refusal }
  | { place: undefined }
  | undefined

/**
 * One group or project among those that a token reaches. place undefined: not among them; undefined: GitLab does not tell.
 * @param mostPages where nobody waits for the answer, and many are asked about
 */
export const findAssociation = async (
  client: GitLabHttpClient,
  token: string,
  isWanted: (place: FoundPlace) => boolean,
  mostPages = MOST_PAGES,
): Promise<Association> => {
  const projects: string[] = []
  for (let page = 1; page <= mostPages; page += 1) {
    const answer = await readPage(client, token, page)
    if (!answer || 'refusal' in answer) return answer
    projects.push(...answer.projects.map(({ path }) => path))
    const places = [
      ...answer.groups.map(({ id, path }): FoundPlace => ({ kind: 'group', id, path })),
      ...answer.projects.map(({ id, path }): FoundPlace => ({ kind: 'project', id, path })),
    ]
    const place = places.find(isWanted)
    if (place) return { place, project: projects.find((path) => isIn(path, place)) }
    if (!isFull(answer.groups) && !isFull(answer.projects)) return { place: undefined }
  }
  return undefined
}

const isIn = (project: string, { path }: Pick<FoundPlace, 'path'>): boolean =>
  `${project}/`.toLowerCase().startsWith(`${path}/`.toLowerCase())
