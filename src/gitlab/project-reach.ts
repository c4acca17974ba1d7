import { isPath } from './answers.ts'
import { askGitOnce, type GitReply } from './git-endpoint.ts'
import { isFineGrained } from './granular.ts'
import type { GitLabAnswer, GitLabHttpClient } from './http-client.ts'
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
  /** The token itself is refused, or that of a bot at a project which it does not see. */
  | 'denied'
  /** GitLab does not answer now. */
  | 'unavailable'
  /** Nothing follows from the answer. */
  | 'nothing'

const API_NOT_FOUND = /^404 (?:Project|Group) Not Found$/

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
  return wordOf(client, asked, await askGitOnce(client, path, token))
}

/** @param reply of the Git endpoint; the API tells whether a missing repository is a missing project. */
export const wordOf = async (
  client: GitLabHttpClient,
  asked: Asked,
  reply: GitReply,
): Promise<ProjectWord> => {
  if (reply.kind === 'opens' || reply.kind === 'unavailable')
    return reply.kind === 'opens' ? 'opens' : 'unavailable'
  const words = 'words' in reply ? reply.words : undefined
  if (words === undefined) return 'nothing'
  // A token that is not for Git is refused everywhere.
  if (words === 'forbidden') return mayUseGit(asked.scopes) ? 'forbidden' : 'nothing'
  const api = mayUseApi(asked.scopes) ? await askApi(client, asked) : 'nothing'
  if (api === 'absent' || api === 'group') return api
  return words === 'denied' ? 'denied' : 'not_found'
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
  const { kind } = await askGitOnce(client, path, undefined)
  return kind === 'unavailable' ? undefined : kind === 'opens'
}
