import type { TokenKind } from '../db/tables.ts'
import { type PlaceAnswer, readPlace, readPlaces } from './answers.ts'
import type { GitLabHttpClient } from './http-client.ts'
import { type Refusal, refusalOf } from './refusal.ts'

export type FoundPlace = PlaceAnswer & { kind: 'group' | 'project' }
export type Reach = { reached: true; place: FoundPlace } | { reached: false; refusal: Refusal | undefined }

/**
 * Whether a token reaches a group, or a project: GitLab answers 404 for what a token may not see.
 * @returns the place as GitLab writes it; a refusal when the call itself failed, none when the group is out of reach.
 */
export const checkReach = async (client: GitLabHttpClient, token: string, path: string): Promise<Reach> => {
  for (const collection of ['groups', 'projects'] as const) {
    const query = collection === 'groups' ? '?with_projects=false' : ''
    const answer = await client.send({
      path: `/api/v4/${collection}/${encodeURIComponent(path)}${query}`,
      token,
    })
    if (answer.kind === 'answer' && answer.status === 200) {
      const found = readPlace(answer.body)
      if (found)
        return { reached: true, place: { ...found, kind: collection === 'groups' ? 'group' : 'project' } }
    }
    const refusal = refusalOf(answer, client.baseUrl)
    if (refusal) return { reached: false, refusal }
  }
  return { reached: false, refusal: undefined }
}

/** place undefined = GitLab does not tell. A refusal = GitLab could not be asked now. */
export type Home = { place: FoundPlace | undefined; refusal?: never } | { refusal: Refusal }

/** The group or project that a group or project access token belongs to. */
export const findHome = async (client: GitLabHttpClient, token: string, kind: TokenKind): Promise<Home> => {
  const paths: Partial<Record<TokenKind, string>> = {
    group_access_token: '/api/v4/groups?min_access_level=10&per_page=100',
    project_access_token: '/api/v4/projects?membership=true&per_page=100',
  }
  const path = paths[kind]
  if (path === undefined) return { place: undefined }
  const answer = await client.send({ path, token })
  const refusal = refusalOf(answer, client.baseUrl)
  if (refusal?.code === 'gitlab_unavailable') return { refusal }
  const found = answer.kind === 'answer' && answer.status === 200 ? readPlaces(answer.body) : undefined
  // A group's token reaches its subgroups too: the shortest path is the group itself.
  const home = found?.sort((a, b) => a.path.split('/').length - b.path.split('/').length)[0]
  return { place: home && { ...home, kind: kind === 'group_access_token' ? 'group' : 'project' } }
}
