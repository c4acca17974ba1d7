import type { GitReply } from '../gitlab/git-endpoint.ts'
import type { GitLabResult } from '../gitlab/http-client.ts'
import { isWaitingCode } from '../gitlab/owner-refusal.ts'
import { type Refusal, refusalOf, toLegacyToken } from '../gitlab/refusal.ts'
import type { RankedCandidate } from '../lookup/url-match.ts'

/** What was found out about a repository before it is scanned. Nothing in it is a secret. */
export type Facts = {
  /** Host of the URL. */
  host: string
  /** The URL names an instance that is registered here. */
  isKnownInstance: boolean
  /** The connections that cover the URL, best first. */
  candidates: RankedCandidate[]
  /** undefined: no connection can be used. */
  connection: ConnectionFacts | undefined
  /** undefined: there is no connection. */
  token: { kind: 'leased'; scopes: string[] } | { kind: 'refused'; code: string; detail: string } | undefined
  /** What GitLab's Git endpoint answers to the token; undefined: it was not asked. */
  git: Reply | undefined
  /** What GitLab's API answers about the project; undefined: it was not asked. */
  project: Reply | undefined
  /** Whether anybody may read the repository; undefined: nobody knows. */
  isPublic: boolean | undefined
  /** How long the scan takes; undefined: the caller does not say. */
  scanSeconds: number | undefined
  now: Date
}

export type ConnectionFacts = {
  id: string
  label: string
  /** GitLab account whose person has to be asked. */
  account: string | null
  refreshable: boolean
  tokenExpiresAt: Date | null
  /** Whole life of a token of this connection, in seconds. */
  lifetimeSeconds: number
  /** Until when others hold leases on the token; null = nobody does. */
  leasedUntil: Date | null
}

/** An answer of GitLab, as far as a check needs it. */
export type Reply =
  | { kind: 'ok' }
  /** Under another path of the same instance. */
  | { kind: 'ok_moved'; to: string }
  /** With the new URL, where GitLab names one on the same instance. */
  | { kind: 'moved'; to: string | undefined }
  | { kind: 'sign_in' }
  | { kind: 'unauthorized' }
  | { kind: 'sso' }
  | { kind: 'scope' }
  | { kind: 'forbidden' }
  /** A rule of the group or the instance, or the state of the owner, in words for people. */
  | { kind: 'rule'; code: string; detail: string }
  | { kind: 'not_found' }
  | { kind: 'unavailable'; retryAfterSeconds: number | undefined }
  | { kind: 'unexpected'; status: number }

const SIGN_IN = /\/users\/(sign_in|auth)\b/
const API_PROJECT = /\/api\/v4\/projects\/(\d+)/

/** Only an address on the same GitLab is passed on, and nothing of its query. */
const newAddress = (location: string | undefined, baseUrl: string): string | undefined => {
  const url = URL.parse(location ?? '', `${baseUrl}/`)
  if (!url || url.origin !== new URL(baseUrl).origin) return undefined
  const id = API_PROJECT.exec(url.pathname)?.[1]
  if (id) return `project ${id}`
  return `${url.origin}${url.pathname}`
}

const withSuffix = (baseUrl: string, path: string): string => `${baseUrl}/${path}.git`

export type GitAnswer = {
  reply: GitReply
  /** The path that was asked in the end; undefined = the first one. */
  movedTo: string | undefined
}

/** What the Git endpoint answered to a token with these scopes. */
export const readGit = (
  { reply, movedTo }: GitAnswer,
  { baseUrl, scopes }: { baseUrl: string; scopes: readonly string[] },
): Reply => {
  switch (reply.kind) {
    case 'opens':
      return movedTo === undefined ? { kind: 'ok' } : { kind: 'ok_moved', to: withSuffix(baseUrl, movedTo) }
    case 'sign_in':
      return reply
    case 'refused':
      return byRule(scopes.includes('granular') ? reply.refusal : toLegacyToken(reply.refusal))
    case 'unavailable':
      if (reply.refusal.code === 'address_banned') return { kind: 'rule', ...reply.refusal }
      return { kind: 'unavailable', retryAfterSeconds: reply.refusal.retryAfterSeconds }
    case 'moved':
      return { kind: 'moved', to: reply.path === undefined ? undefined : withSuffix(baseUrl, reply.path) }
    case 'closed': {
      if (movedTo !== undefined) return { kind: 'moved', to: withSuffix(baseUrl, movedTo) }
      const { status } = reply
      if (status === 401) return { kind: 'unauthorized' }
      if (status === 403) return { kind: 'forbidden' }
      return status === 404 ? { kind: 'not_found' } : { kind: 'unexpected', status }
    }
  }
}

const byRule = (refusal: Refusal): Reply => {
  const { code, detail } = refusal
  if (code === 'missing_scopes') return { kind: 'scope' }
  return code === 'sso_required' ? { kind: 'sso' } : { kind: 'rule', code, detail }
}

/** What an answer of GitLab's API means for whoever wants to read a repository. */
export const readReply = (result: GitLabResult, baseUrl: string): Reply => {
  if (result.kind === 'failure') {
    const retryAfterSeconds = 'retryAfterSeconds' in result ? result.retryAfterSeconds : undefined
    return { kind: 'unavailable', retryAfterSeconds }
  }
  const { status, headers, retryAfterSeconds } = result
  if (status === 200) return { kind: 'ok' }
  if (status >= 300 && status < 400) {
    const { location } = headers
    if (location !== undefined && SIGN_IN.test(location)) return { kind: 'sign_in' }
    return { kind: 'moved', to: newAddress(location, baseUrl) }
  }
  if (status === 401) return { kind: 'unauthorized' }
  if (status === 403) {
    const refusal = refusalOf(result, baseUrl)
    const isTold = refusal && (isWaitingCode(refusal.code) || refusal.code === 'missing_scopes')
    return isTold ? byRule(refusal) : { kind: 'forbidden' }
  }
  if (status === 404) return { kind: 'not_found' }
  if (status === 429 || status >= 500) return { kind: 'unavailable', retryAfterSeconds }
  return { kind: 'unexpected', status }
}
