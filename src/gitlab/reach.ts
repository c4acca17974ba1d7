import { type PlaceAnswer, readPlace } from './answers.ts'
import type { GitLabHttpClient } from './http-client.ts'
import { sendFollowing } from './redirects.ts'
import { type Refusal, refusalOf } from './refusal.ts'

export type FoundPlace = PlaceAnswer & { kind: 'group' | 'project' }
/** A refusal when the call itself failed, none when the place is out of reach. */
export type Reach = { reached: true; place: FoundPlace } | { reached: false; refusal: Refusal | undefined }

/**
 * Whether a token reaches a group, or a project, by the API: GitLab answers 404 for what a token may not see.
 * @returns the place as GitLab writes it
 */
export const findPlaceByPath = async (
  client: GitLabHttpClient,
  token: string,
  path: string,
): Promise<Reach> => {
  const group = await askFor(client, token, 'group', path)
  return group.reached || group.refusal ? group : askFor(client, token, 'project', path)
}

/** The same by the id, which a rename leaves alone. */
export const findPlaceById = (
  client: GitLabHttpClient,
  token: string,
  { kind, id }: { kind: FoundPlace['kind']; id: string },
): Promise<Reach> => askFor(client, token, kind, id)

const askFor = async (
  client: GitLabHttpClient,
  token: string,
  kind: FoundPlace['kind'],
  idOrPath: string,
): Promise<Reach> => {
  const query = kind === 'group' ? '?with_projects=false' : ''
  const answer = await sendFollowing(client, {
    path: `/api/v4/${kind}s/${encodeURIComponent(idOrPath)}${query}`,
    token,
  })
  const place = answer.kind === 'answer' && answer.status === 200 ? readPlace(answer.body) : undefined
  if (place) return { reached: true, place: { ...place, kind } }
  return { reached: false, refusal: refusalOf(answer, client.baseUrl) }
}
