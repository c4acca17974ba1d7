import type { GitLabHttpClient, GitLabRequest } from './http-client.ts'
import { type Refusal, refusalOf } from './refusal.ts'

/** What Git over HTTP says of a token at a repository. */
export type CloneProof =
  | { kind: 'proven' }
  /** It opens for everybody, which proves nothing about the token. */
  | { kind: 'public' }
  /** GitLab names the permission that is missing. */
  | { kind: 'no_permission'; sentence: string }
  /** There is none, or the token does not see it. */
  | { kind: 'closed' }
  /** GitLab could not be asked now. */
  | { kind: 'unavailable'; refusal: Refusal }

const FINE_GRAINED = /fine.grained/i
const LONGEST_SENTENCE = 300
/** What may be a path of a repository. Of anything else the server would make another address. */
const PATH = /^[\w.-]+(?:\/[\w.-]+)+$/

/**
 * Whether a token may clone a repository, asked where Git asks. Nothing else tells it of a fine-grained token.
 * @param path of the project, without `.git`
 */
export const proveClone = async (
  client: GitLabHttpClient,
  token: string,
  path: string,
): Promise<CloneProof> => {
  if (!PATH.test(path) || path.split('/').some((segment) => segment === '.' || segment === '..'))
    return { kind: 'closed' }
  const request: GitLabRequest = {
    path: `/${path}.git/info/refs?service=git-upload-pack`,
    // Version 2 lists no refs: the answer is short, however large the repository is.
    headers: { 'git-protocol': 'version=2', accept: '*/*' },
  }
  const answer = await client.send({ ...request, basicAuth: { username: 'oauth2', password: token } })
  if (answer.kind === 'failure' || answer.status >= 500 || answer.status === 429) {
    const refusal = refusalOf(answer, client.baseUrl)
    return refusal ? { kind: 'unavailable', refusal } : { kind: 'closed' }
  }
  if (answer.status === 403 && FINE_GRAINED.test(answer.text))
    return { kind: 'no_permission', sentence: answer.text.slice(0, LONGEST_SENTENCE) }
  if (!isAdvertisement(answer)) return { kind: 'closed' }
  const anonymous = await client.send(request)
  if (anonymous.kind === 'failure' || anonymous.status >= 500 || anonymous.status === 429) {
    const refusal = refusalOf(anonymous, client.baseUrl)
    if (refusal) return { kind: 'unavailable', refusal }
  }
  return { kind: anonymous.kind === 'answer' && isAdvertisement(anonymous) ? 'public' : 'proven' }
}

/** Whatever else answers 200, a page to sign in for example, is no repository. */
const isAdvertisement = ({
  status,
  headers,
}: {
  status: number
  headers: Record<string, string | string[] | undefined>
}): boolean =>
  status === 200 && String(headers['content-type']).startsWith('application/x-git-upload-pack-advertisement')
