import type { GitLabHttpClient, GitLabRequest, GitLabResult } from './http-client.ts'
import { type Refusal, refusalOf } from './refusal.ts'

/** What Git over HTTP says of a token at a repository. */
export type CloneProof =
  | { kind: 'proven' }
  /** It opens for everybody, which proves nothing about the token. */
  | { kind: 'public' }
  /** GitLab names the permission that is missing. */
  | { kind: 'no_permission'; refusal: Refusal }
  /** There is none, or the token does not see it. */
  | { kind: 'closed' }
  /** GitLab could not be asked now. */
  | { kind: 'unavailable'; refusal: Refusal }

const FINE_GRAINED = /fine.grained/i
const LONGEST_SENTENCE = 300
/** What may be a path of a repository. Of anything else the server would make another address. */
const PATH = /^[\w.-]+(?:\/[\w.-]+)+$/

export const infoRefs = (path: string): GitLabRequest => ({
  path: `/${path}.git/info/refs?service=git-upload-pack`,
  // Version 2 lists no refs: the answer is short, however large the repository is.
  headers: { 'git-protocol': 'version=2', accept: '*/*' },
})

/** Whether a token opens a repository over Git. `opens`: a public one opens whatever the token may. */
export const tryClone = async (
  client: GitLabHttpClient,
  token: string,
  path: string,
): Promise<Exclude<CloneProof, { kind: 'proven' | 'public' }> | { kind: 'opens' }> => {
  if (!PATH.test(path) || path.split('/').some((segment) => segment === '.' || segment === '..'))
    return { kind: 'closed' }
  const answer = await client.send({
    ...infoRefs(path),
    basicAuth: { username: 'oauth2', password: token },
  })
  const outage = outageOf(answer, client.baseUrl)
  if (outage) return { kind: 'unavailable', refusal: outage }
  if (answer.kind === 'answer' && answer.status === 403 && FINE_GRAINED.test(answer.text)) {
    const detail = answer.text.slice(0, LONGEST_SENTENCE).trim()
    return { kind: 'no_permission', refusal: { code: 'missing_scopes', detail, lacksPermission: true } }
  }
  return { kind: isAdvertisement(answer) ? 'opens' : 'closed' }
}

/**
 * Whether a token may clone a repository, asked where Git asks. Nothing else tells it of a fine-grained token.
 * @param path of the project, without `.git`
 */
export const proveClone = async (
  client: GitLabHttpClient,
  token: string,
  path: string,
): Promise<CloneProof> => {
  const attempt = await tryClone(client, token, path)
  if (attempt.kind !== 'opens') return attempt
  const anonymous = await client.send(infoRefs(path))
  const outage = outageOf(anonymous, client.baseUrl)
  if (outage) return { kind: 'unavailable', refusal: outage }
  return { kind: isAdvertisement(anonymous) ? 'public' : 'proven' }
}

const outageOf = (answer: GitLabResult, baseUrl: string): Refusal | undefined =>
  answer.kind === 'failure' || answer.status >= 500 || answer.status === 429
    ? refusalOf(answer, baseUrl)
    : undefined

/** Whatever else answers 200, a page to sign in for example, is no repository. */
export const isAdvertisement = (answer: GitLabResult): boolean =>
  answer.kind === 'answer' &&
  answer.status === 200 &&
  (answer.headers['content-type'] ?? '').startsWith('application/x-git-upload-pack-advertisement')
