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

/** How many of each list a page has; what stands before GitLab may shorten pages. undefined = it does not tell. */
const readPerPage = (value: string | string[] | undefined): number | undefined =>
  typeof value === 'string' && /^[1-9]\d{0,3}$/.test(value) ? Math.min(Number(value), PER_PAGE) : undefined

/**
 * GitLab pages both lists by one number, and its headers tell of the second list alone: a full list may have a next page. Where
 * they are left out, a list ends with an empty page. More than was asked for is of a server that knows no pages.
 */
const mayGoOn = (list: readonly unknown[], perPage: number | undefined): boolean =>
  perPage === undefined ? list.length > 0 && list.length <= PER_PAGE : list.length >= perPage

type Page = AssociationsAnswer & { moreGroups: boolean; moreProjects: boolean }

/** What GitLab lists for a token, page after page. undefined = a server before 17.4, or it does not say. */
async function* readPages(
  client: GitLabHttpClient,
  token: string,
  mostPages: number,
): AsyncGenerator<Page | { refusal: Refusal } | undefined> {
  let before = ''
  for (let page = 1; page <= mostPages; page += 1) {
    const query = `min_access_level=${LEAST_ACCESS_LEVEL}&per_page=${PER_PAGE}&page=${page}`
    const path = `/api/v4/personal_access_tokens/self/associations?${query}`
    const answer = await client.send({ path, token })
    const isAnswer = answer.kind === 'answer' && answer.status === 200
    const found = isAnswer ? readAssociations(answer.body) : undefined
    if (!found) {
      const refusal = isAnswer ? undefined : refusalOf(answer, client.baseUrl)
      yield refusal?.code === 'gitlab_unavailable' ? { refusal } : undefined
      return
    }
    const perPage = isAnswer ? readPerPage(answer.headers['x-per-page']) : undefined
    const all = JSON.stringify(found)
    // A server that knows no pages answers the same once more.
    if (perPage === undefined && all === before) {
      yield { groups: [], projects: [], moreGroups: false, moreProjects: false }
      return
    }
    before = all
    const more = {
      moreGroups: mayGoOn(found.groups, perPage),
      moreProjects: mayGoOn(found.projects, perPage),
    }
    yield { ...found, ...more }
  }
}

/** A refusal: GitLab could not be asked now. undefined: GitLab does not tell. */
export type Homes = { homes: FoundPlace[]; projects: string[] } | { refusal: Refusal } | undefined

/**
 * The places of which a token reaches all there is: the groups whose parent it does not reach, and the projects outside
 * of them. Any scope is enough. Two homes say all that there is to know: more are not looked for.
 */
export const findHomes = async (client: GitLabHttpClient, token: string): Promise<Homes> => {
  const found: AssociationsAnswer = { groups: [], projects: [] }
  for await (const answer of readPages(client, token, MOST_PAGES)) {
    if (!answer || 'refusal' in answer) return answer
    found.groups.push(...answer.groups)
    found.projects.push(...answer.projects)
    if (answer.moreGroups) continue
    const homes = homesIn(found)
    if (homes.length > 1 || found.groups.length > 0 || !answer.moreProjects)
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
  for await (const answer of readPages(client, token, mostPages)) {
    if (!answer || 'refusal' in answer) return answer
    projects.push(...answer.projects.map(({ path }) => path))
    const places = [
      ...answer.groups.map(({ id, path }): FoundPlace => ({ kind: 'group', id, path })),
      ...answer.projects.map(({ id, path }): FoundPlace => ({ kind: 'project', id, path })),
    ]
    const place = places.find(isWanted)
    if (place) return { place, project: projects.find((path) => isIn(path, place)) }
    if (!answer.moreGroups && !answer.moreProjects) return { place: undefined }
  }
  return undefined
}

const isIn = (project: string, { path }: Pick<FoundPlace, 'path'>): boolean =>
  `${project}/`.toLowerCase().startsWith(`${path}/`.toLowerCase())
