import { isPath, type PlaceAnswer, readPlace } from './answers.ts'
import type { GitLabHttpClient, GitLabResult } from './http-client.ts'
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

/** A refusal: GitLab could not be asked now. */
export type GitAccess = { opens: boolean } | { refusal: Refusal }

/**
 * Whether a token opens a repository over Git, for which read_repository is enough. A public repository opens for
 * whoever asks.
 */
export const findGitAccess = async (
  client: GitLabHttpClient,
  token: string,
  path: string,
): Promise<GitAccess> => {
  // Of a text that is no path the server would make another address.
  if (!isPath(path)) return { opens: false }
  const answer = await client.send({
    path: `/${path}.git/info/refs?service=git-upload-pack`,
    basicAuth: { username: 'oauth2', password: token },
    // Version 2 lists no refs: the answer is short, however large the repository is.
    headers: { 'git-protocol': 'version=2', accept: '*/*' },
  })
  const refusal = unavailable(answer, client.baseUrl)
  return refusal ? { refusal } : { opens: isAdvertisement(answer) }
}

const unavailable = (answer: GitLabResult, baseUrl: string): Refusal | undefined => {
  if (answer.kind === 'answer' && answer.status < 500 && answer.status !== 429) return undefined
  return refusalOf(answer, baseUrl)
}

/** Whatever else answers 200, a page to sign in for example, is no repository. */
const isAdvertisement = (answer: GitLabResult): boolean =>
  answer.kind === 'answer' &&
  answer.status === 200 &&
  (answer.headers['content-type'] ?? '').startsWith('application/x-git-upload-pack-advertisement')
