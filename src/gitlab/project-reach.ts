import { isPath } from './answers.ts'
import { infoRefs, isAdvertisement } from './clone-proof.ts'
import { isFineGrained } from './granular.ts'
import { GIT_USERNAME, type GitLabAnswer, type GitLabHttpClient, type GitLabResult } from './http-client.ts'
import { isGitSentence } from './owner-refusal.ts'
import { sendFollowing } from './redirects.ts'
import { hasScope } from './scopes.ts'

/**
 * Whether a token reaches a project, as GitLab itself says. What stands in front of GitLab proves nothing: refusals count
 * in GitLab's own words alone.
 */
export type ProjectWord =
  /** It is served to the token, and would be to nobody without one. */
  | 'reaches'
  /** The Git endpoint serves it, maybe to everybody. */
  | 'opens'
  /** There is such a project, and the token may not read it. */
  | 'forbidden'
  /** The path is that of a group, which the token sees. */
  | 'group'
  /** Neither a project nor a group that the token sees. */
  | 'absent'
  /** No repository that the token sees: gone, hidden, or the path of a group. */
  | 'not_found'
  /** GitLab does not answer now. */
  | 'unavailable'
  /** Nothing follows from the answer. */
  | 'nothing'

const NOT_FOUND = /could not be found or you don't have permission to view it/i
const ACCESS_DENIED = /^HTTP Basic: Access denied/
const NO_DOWNLOAD = /^You are not allowed to download code/i
const LACKS_PERMISSION = /fine.grained/i
const API_NOT_FOUND = /^404 (?:Project|Group) Not Found$/i

type Asked = { token: string; scopes: readonly string[]; path: string }

const mayUseGit = (scopes: readonly string[]): boolean =>
  isFineGrained(scopes) || hasScope(scopes, 'read_repository')
const mayUseApi = (scopes: readonly string[]): boolean =>
  isFineGrained(scopes) || hasScope(scopes, 'read_api')

/** Asks the Git endpoint; where that does not tell, or the token is not for Git, the API. */
export const askAboutProject = async (client: GitLabHttpClient, asked: Asked): Promise<ProjectWord> => {
  const { token, scopes, path } = asked
  if (!isPath(path)) return 'nothing'
  if (!mayUseGit(scopes)) return mayUseApi(scopes) ? askApi(client, asked) : 'nothing'
  const answer = await client.send({
    ...infoRefs(path),
    basicAuth: { username: GIT_USERNAME, password: token },
  })
  return confirmed(client, asked, readGitAnswer(answer))
}

/** What an answer of the Git endpoint to a token says. `denied`: to the token, or to all of it. */
export const readGitAnswer = (answer: GitLabResult): ProjectWord | 'denied' => {
  if (isAdvertisement(answer)) return 'opens'
  if (answer.kind === 'failure' || answer.status === 429 || answer.status >= 500) return 'unavailable'
  if (answer.body !== undefined || !isGitSentence(answer.text)) return 'nothing'
  const text = answer.text.trim()
  if (answer.status === 404 && NOT_FOUND.test(text)) return 'not_found'
  if (answer.status === 401 && ACCESS_DENIED.test(text)) return 'denied'
  const isForbidden = answer.status === 403 && (NO_DOWNLOAD.test(text) || LACKS_PERMISSION.test(text))
  return isForbidden ? 'forbidden' : 'nothing'
}

/** @param word of the Git endpoint, where the API tells whether a missing repository is a missing project. */
export const confirmed = async (
  client: GitLabHttpClient,
  asked: Asked,
  word: ReturnType<typeof readGitAnswer>,
): Promise<ProjectWord> => {
  if (word !== 'not_found' && word !== 'denied') return word
  const api = mayUseApi(asked.scopes) ? await askApi(client, asked) : 'nothing'
  if (api === 'absent' || api === 'group') return api
  return word === 'denied' ? 'nothing' : 'not_found'
}

const askApi = async (client: GitLabHttpClient, { token, path }: Asked): Promise<ProjectWord> => {
  const name = encodeURIComponent(path)
  const project = await sendFollowing(client, { path: `/api/v4/projects/${name}`, token })
  if (project.kind === 'failure') return 'unavailable'
  if (project.status === 200) return isShown(project) ? 'reaches' : 'nothing'
  if (!isNotFound(project)) return 'nothing'
  const group = await sendFollowing(client, { path: `/api/v4/groups/${name}?with_projects=false`, token })
  if (group.kind === 'failure') return 'unavailable'
  if (group.status === 200) return 'group'
  return isNotFound(group) ? 'absent' : 'nothing'
}

const membersOf = ({ body }: GitLabAnswer): { message?: unknown; visibility?: unknown } =>
  typeof body === 'object' && body !== null ? body : {}

/** What is public is shown to everybody. */
const isShown = (answer: GitLabAnswer): boolean =>
  ['private', 'internal'].includes(String(membersOf(answer).visibility))

const isNotFound = (answer: GitLabAnswer): boolean =>
  answer.status === 404 && API_NOT_FOUND.test(String(membersOf(answer).message))

/** Whether the Git endpoint serves a repository to everybody; undefined = GitLab does not say now. */
export const isServedToAll = async (client: GitLabHttpClient, path: string): Promise<boolean | undefined> => {
  const answer = await client.send(infoRefs(path))
  if (isAdvertisement(answer)) return true
  return answer.kind === 'failure' || answer.status === 429 || answer.status >= 500 ? undefined : false
}
