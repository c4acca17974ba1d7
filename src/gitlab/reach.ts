import type { TokenKind } from '../db/tables.ts'
import { readPlacePath, readPlacePaths } from './answers.ts'
import type { GitLabHttpClient } from './http-client.ts'
import { type Refusal, refusalOf } from './refusal.ts'

export type Reach = { reached: true; path: string } | { reached: false; refusal: Refusal | undefined }

/**
 * Whether a token reaches a group, or a project: GitLab answers 404 for what a token may not see.
 * @returns the path as GitLab writes it; a refusal when the call itself failed, none when the group is out of reach.
 */
export const checkReach = async (client: GitLabHttpClient, token: string, path: string): Promise<Reach> => {
  for (const collection of ['groups', 'projects']) {
    const query = collection === 'groups' ? '?with_projects=false' : ''
    const answer = await client.send({
      path: `/api/v4/${collection}/${encodeURIComponent(path)}${query}`,
      token,
    })
    if (answer.kind === 'answer' && answer.status === 200) {
      const found = readPlacePath(answer.body)
      if (found !== undefined) return { reached: true, path: found }
    }
    const refusal = refusalOf(answer, client.baseUrl)
    if (refusal) return { reached: false, refusal }
  }
  return { reached: false, refusal: undefined }
}

/** path undefined = GitLab does not tell. A refusal = GitLab could not be asked now. */
export type Home = { path: string | undefined; refusal?: never } | { refusal: Refusal }

/** The group or project that a group or project access token belongs to. */
export const findHome = async (client: GitLabHttpClient, token: string, kind: TokenKind): Promise<Home> => {
  const paths: Partial<Record<TokenKind, string>> = {
    group_access_token: '/api/v4/groups?min_access_level=10&per_page=100',
    project_access_token: '/api/v4/projects?membership=true&per_page=100',
  }
  const path = paths[kind]
  if (path === undefined) return { path: undefined }
  const answer = await client.send({ path, token })
  const refusal = refusalOf(answer, client.baseUrl)
  if (refusal?.code === 'gitlab_unavailable') return { refusal }
  const found = answer.kind === 'answer' && answer.status === 200 ? readPlacePaths(answer.body) : undefined
  // A group's token reaches its subgroups too: the shortest path is the group itself.
  return { path: found?.sort((a, b) => a.split('/').length - b.split('/').length)[0] }
}
