import { isPath } from './answers.ts'
import {
  GIT_USERNAME,
  type GitLabAnswer,
  type GitLabHttpClient,
  type GitLabRequest,
  type GitLabResult,
} from './http-client.ts'
import { isGitSentence, isWaitingCode, shownSentence } from './owner-refusal.ts'
import { type Refusal, refusalOf } from './refusal.ts'

/** What the Git endpoint of GitLab answers to whoever wants to clone. The one reader of its answers. */
export type GitReply =
  | { kind: 'opens' }
  /** A rule of the group or the instance, the owner of the token, or what the token may do. */
  | { kind: 'refused'; refusal: Refusal; words?: OwnWords | undefined }
  /** @property path where the repository is now; undefined = GitLab names no repository of its own */
  | { kind: 'moved'; path: string | undefined }
  | { kind: 'sign_in' }
  /** There is none, or the token does not see it. Other statuses come from what stands in front of GitLab. */
  | { kind: 'closed'; status: number; words?: OwnWords | undefined }
  /** GitLab could not be asked now. */
  | { kind: 'unavailable'; refusal: Refusal }

/**
 * What GitLab itself says of a token at a repository, word by word: what stands in front of GitLab answers with the same
 * statuses. `not_found`: there is none, or the token does not see it. `denied`: the same for the bot of a group or
 * project, and what a dead token gets. `forbidden`: there is one, and the token may not read it.
 */
export type OwnWords = 'not_found' | 'denied' | 'forbidden'
const OWN_WORDS: [OwnWords, number, RegExp][] = [
  ['not_found', 404, /^The project you were looking for could not be found or you don't have permission/],
  ['denied', 401, /^HTTP Basic: Access denied/],
  ['forbidden', 403, /^You are not allowed to download code/],
  ['forbidden', 403, /^Access denied: .*fine-grained personal access token/],
]

const ownWords = (result: GitLabAnswer): OwnWords | undefined => {
  const text = result.text.trim()
  if (result.body !== undefined || !isGitSentence(text)) return undefined
  return OWN_WORDS.find(([, status, sentence]) => result.status === status && sentence.test(text))?.[0]
}

const FINE_GRAINED = /fine.grained/i
const NOT_ALLOWED = /not allowed to (download|pull|read)/i
const SIGN_IN = /\/users\/(sign_in|auth)\b/
const LONGEST_SENTENCE = 300
const INFO_REFS = /^\/(.+?)(?:\.git)?\/info\/refs$/

/** @param path of the project, without `.git` @param token undefined = as anybody */
export const askGitOnce = async (
  client: GitLabHttpClient,
  path: string,
  token: string | undefined,
): Promise<GitReply> => {
  // Of a text that is no path the server would make another address.
  if (!isPath(path) || !path.includes('/')) return { kind: 'closed', status: 404 }
  const request: GitLabRequest = {
    path: `/${path}.git/info/refs?service=git-upload-pack`,
    // Version 2 lists no refs: the answer is short, however large the repository is.
    headers: { 'git-protocol': 'version=2', accept: '*/*' },
    ...(token === undefined ? {} : { basicAuth: { username: GIT_USERNAME, password: token } }),
  }
  return readGitReply(await client.send(request), client.baseUrl)
}

/**
 * The same of a repository that may have moved: one redirect is followed, to a repository of the same GitLab alone.
 * @returns movedTo: the path that was asked in the end; undefined = the first one
 */
export const askGit = async (
  client: GitLabHttpClient,
  path: string,
  token: string | undefined,
): Promise<{ reply: GitReply; movedTo: string | undefined }> => {
  const reply = await askGitOnce(client, path, token)
  if (reply.kind !== 'moved' || reply.path === undefined || reply.path === path)
    return { reply, movedTo: undefined }
  return { reply: await askGitOnce(client, reply.path, token), movedTo: reply.path }
}

export const readGitReply = (result: GitLabResult, baseUrl: string): GitReply => {
  if (result.kind === 'failure') {
    // More than a megabyte of branches, from a server that knows no version 2: it serves the repository.
    if (result.reason === 'answer_too_large') return { kind: 'opens' }
    return { kind: 'unavailable', refusal: refusalOf(result, baseUrl, 'git') ?? NO_ANSWER }
  }
  const { status, text, headers } = result
  if (status === 200) {
    // Whatever else answers 200, a page to sign in for example, is no repository.
    const isAdvertisement = headers['content-type']
      ?.toLowerCase()
      .startsWith('application/x-git-upload-pack-advertisement')
    return isAdvertisement ? { kind: 'opens' } : { kind: 'closed', status }
  }
  if (status >= 300 && status < 400)
    return SIGN_IN.test(headers.location ?? '')
      ? { kind: 'sign_in' }
      : { kind: 'moved', path: repositoryAt(baseUrl, headers.location) }
  const words = ownWords(result)
  if (status === 403 && FINE_GRAINED.test(text)) {
    const detail = shownSentence(text.slice(0, LONGEST_SENTENCE))
    return { kind: 'refused', refusal: { code: 'missing_scopes', detail, lacksPermission: true }, words }
  }
  const refusal = refusalOf(result, baseUrl, 'git')
  if (refusal?.code === 'gitlab_unavailable' || refusal?.code === 'address_banned')
    return { kind: 'unavailable', refusal }
  if (refusal && (isWaitingCode(refusal.code) || refusal.code === 'missing_scopes'))
    return { kind: 'refused', refusal }
  if (status === 403 && NOT_ALLOWED.test(text)) return { kind: 'refused', refusal: MAY_NOT_DOWNLOAD, words }
  return { kind: 'closed', status, words }
}

const NO_ANSWER: Refusal = { code: 'gitlab_unavailable', detail: 'GitLab did not answer.' }
const MAY_NOT_DOWNLOAD: Refusal = {
  code: 'missing_scopes',
  detail:
    'GitLab does not let this token download code: its scope or the role of its account does not suffice.',
}

/** undefined = it leads elsewhere than to a repository of this GitLab. */
const repositoryAt = (baseUrl: string, location: string | undefined): string | undefined => {
  const to = URL.parse(location ?? '', `${baseUrl}/`)
  const base = new URL(baseUrl)
  const root = base.pathname.replace(/\/$/, '')
  if (!to || to.origin !== base.origin || to.username !== '' || to.password !== '') return undefined
  if (!to.pathname.startsWith(`${root}/`)) return undefined
  const path = INFO_REFS.exec(to.pathname.slice(root.length))?.[1]
  return isPath(path) ? path : undefined
}
