import type { ProblemCode } from '../errors/catalogue.ts'
import { Problem } from '../errors/problem.ts'
import type { ProxyFault } from '../errors/proxy-faults.ts'
import type { TlsFault } from '../errors/tls-faults.ts'
import { type ErrorAnswer, readError } from './answers.ts'
import type { GitLabAnswer, GitLabResult } from './http-client.ts'
import {
  isGitSentence,
  knownOwnerCode,
  type OwnerCode,
  ownerCodeOf,
  type PolicyCode,
  policyOf,
  shownSentence,
  WAITING_CODES,
} from './owner-refusal.ts'
import { proxySentence } from './proxy-fault.ts'
import { banSeconds, isAddressBan } from './throttle.ts'
import { tlsSentence } from './tls-fault.ts'
import { deathOf, isGitLabError } from './token-words.ts'

/** At an instance that is known to be a GitLab (`atKnownGitLab`). */
export const KNOWN_GITLAB_REFUSALS = [
  'token_unknown',
  'token_expired',
  'token_revoked',
  ...WAITING_CODES,
  'missing_scopes',
  'dpop_required',
  'tls_not_trusted',
  'address_not_allowed',
  'address_banned',
  'gitlab_unavailable',
] as const satisfies readonly ProblemCode[]

/** Every operation that passes refusals on describes these. */
export const REFUSAL_CODES = [
  ...KNOWN_GITLAB_REFUSALS,
  'not_a_gitlab',
] as const satisfies readonly ProblemCode[]

/** Why GitLab gave no good answer, in the words of our catalogue. */
export type Refusal = {
  code: (typeof REFUSAL_CODES)[number]
  detail: string
  /** Of `tls_not_trusted`. */
  tlsFault?: TlsFault | undefined
  /** `gitlab_unavailable`: DNS knows no host of this name, for now at least. */
  isHostUnknown?: true
  /** Of `gitlab_unavailable`: the proxy is why. */
  proxyFault?: ProxyFault | undefined
  retryAfterSeconds?: number
  /** GitLab names a permission of fine-grained tokens: this one lacks it, or is none and GitLab takes no other. */
  lacksPermission?: true
}

const DEFAULT_RETRY_SECONDS = 30
const LONGEST_GIT_TEXT = 300
/** GitLab's own sentence of a 403 (lib/api/api_guard.rb), in our words: what a server writes there is not passed on. */
const MISSING_SCOPES = 'The request requires higher privileges than the scopes of the token give.'

const UNSENDABLE: Refusal = {
  code: 'token_unknown',
  detail: 'The stored token has characters that no token has. Enter it anew.',
}

const unavailable = (what: string, retryAfterSeconds = DEFAULT_RETRY_SECONDS): Refusal => ({
  code: 'gitlab_unavailable',
  detail: `GitLab ${what}.`,
  retryAfterSeconds,
})

const banned = (baseUrl: string, retryAfterSeconds: number): Refusal => ({
  code: 'address_banned',
  detail: `GitLab at ${baseUrl} has banned the address of this service for too many refused requests.`,
  retryAfterSeconds,
})

/**
 * Why GitLab refused a call with a token. Only GitLab's own words tell that a token is dead, or that its owner is refused.
 * In any other words the answer comes from what stands in front of GitLab: `not_a_gitlab`.
 * @param at the Git endpoint refuses in plain text.
 * @returns undefined when the answer is no refusal of the token: 2xx, or a 4xx about something else.
 */
export const refusalOf = (
  result: GitLabResult,
  baseUrl: string,
  at: 'api' | 'git' = 'api',
): Refusal | undefined => {
  if (result.kind === 'failure') {
    switch (result.reason) {
      case 'address_not_allowed':
        return {
          code: 'address_not_allowed',
          detail: `${baseUrl} is no public address or uses plain http. An admin can allow a private one: POST /v1/instances with allow_private_network. Link-local and reserved addresses and metadata services stay refused.`,
        }
      case 'tls_not_trusted':
        return {
          code: 'tls_not_trusted',
          detail: tlsSentence(result.tlsFault ?? 'handshake_failed', baseUrl),
          tlsFault: result.tlsFault,
        }
      case 'proxy_failed':
        return {
          code: 'gitlab_unavailable',
          detail: proxySentence(result, baseUrl),
          proxyFault: result.proxyFault,
          retryAfterSeconds: DEFAULT_RETRY_SECONDS,
        }
      case 'unreachable':
        return result.isHostUnknown
          ? {
              ...unavailable(`at ${baseUrl} cannot be reached: DNS knows no host of this name`),
              isHostUnknown: true,
            }
          : unavailable(`at ${baseUrl} cannot be reached`)
      case 'timeout':
        return unavailable(`at ${baseUrl} took too long to answer`)
      case 'cut':
        return unavailable(`at ${baseUrl} closed the connection without an answer`)
      case 'overloaded':
        return unavailable(`at ${baseUrl} failed too often just now`, result.retryAfterSeconds)
      case 'rate_limited':
        return unavailable('limits how often it may be asked right now', result.retryAfterSeconds)
      case 'unsendable':
        return UNSENDABLE
      case 'address_banned':
        return banned(baseUrl, result.retryAfterSeconds ?? DEFAULT_RETRY_SECONDS)
      case 'answer_too_large':
        return { code: 'not_a_gitlab', detail: `${baseUrl} answered with more than a GitLab API would.` }
    }
  }

  const { status, body, text, retryAfterSeconds } = result
  if (status === 429) return unavailable('limits how often it may be asked right now', retryAfterSeconds)
  if (status >= 500) return unavailable(`at ${baseUrl} answered ${status}`, retryAfterSeconds)
  if (status >= 300 && status < 400) {
    return {
      code: 'not_a_gitlab',
      detail: `${baseUrl} redirects elsewhere. Enter the address at which GitLab itself answers (https?).`,
    }
  }

  const byText = at === 'git' && status === 403 && body === undefined ? refusalOfText(text) : undefined
  if (byText) return byText
  if (isAddressBan(result)) return banned(baseUrl, banSeconds(retryAfterSeconds, 0))
  if (status === 401 && /DPoP validation error/.test(text)) {
    return {
      code: 'dpop_required',
      detail: 'The owner of the token has switched on DPoP for API calls, which rules out stored tokens.',
    }
  }
  if (status < 300 && Array.isArray(body)) return undefined
  const error = readError(body)
  if (error === undefined && status !== 204) return notGitLab(result, baseUrl)
  if (error === undefined) return undefined
  if (status === 401) return refusalOf401(error, result, baseUrl)
  return status === 403 ? refusalOf403(error, result, baseUrl) : undefined
}

/** Something answered that is not GitLab: nothing at this address is one, or something stands in front of it. */
const notGitLab = ({ status }: GitLabAnswer, baseUrl: string): Refusal => ({
  code: 'not_a_gitlab',
  detail:
    status === 401 || status === 403
      ? `Something in front of GitLab at ${baseUrl} answered ${status}: a login proxy or a gateway. GitLab itself did not say anything. Is the base URL complete?`
      : `${baseUrl} does not answer like a GitLab API. Is the base URL complete?`,
})

const refusalOf401 = (error: ErrorAnswer, answer: GitLabAnswer, baseUrl: string): Refusal => {
  const code = deathOf(error)
  switch (code) {
    case undefined:
      return notGitLab(answer, baseUrl)
    case 'token_expired':
      return { code, detail: 'The token has expired. Create a new one at GitLab.' }
    case 'token_revoked':
      return { code, detail: 'The token was revoked at GitLab. Create a new one.' }
    case 'token_unknown':
      return {
        code,
        detail: `GitLab at ${baseUrl} does not know this token. Was all of it copied, and from this instance?`,
      }
  }
}

const POLICY_SENTENCES: Record<PolicyCode, string> = {
  sso_required: 'The group admits people through its single sign-on only',
  ip_not_allowed: 'The group or the instance admits certain IP addresses only, and not that of this service',
  fine_grained_required: 'The group or the instance requires a fine-grained token',
}

const byPolicy = (code: PolicyCode, sentence: string): Refusal => ({
  code,
  detail: `${POLICY_SENTENCES[code]}. GitLab says: ${sentence}`,
})

/** What GitLab says to a token with scopes where it takes fine-grained tokens only is what it says to one of those. */
export const toLegacyToken = (refusal: Refusal): Refusal =>
  refusal.lacksPermission ? byPolicy('fine_grained_required', refusal.detail) : refusal

const byOwner = (code: OwnerCode, sentence: string): Refusal => ({
  code,
  detail: `GitLab refuses the owner of the token: ${sentence}`,
})

/** The Git endpoint refuses in plain text. */
const refusalOfText = (text: string): Refusal | undefined => {
  if (!isGitSentence(text)) return undefined
  const sentence = shownSentence(text.slice(0, LONGEST_GIT_TEXT))
  const policy = policyOf(text)
  if (policy) return byPolicy(policy, sentence)
  const owner = knownOwnerCode(text)
  return owner && byOwner(owner, sentence)
}

const FORBIDDEN = /^403 Forbidden - /

const refusalOf403 = (error: ErrorAnswer, answer: GitLabAnswer, baseUrl: string): Refusal | undefined => {
  const sentence = shownSentence((error.message || error.description).replace(FORBIDDEN, ''))
  const isOwn = isGitLabError(error, answer.status)
  const isWordOfGitLab = error.message.startsWith('403 ') || error.error.startsWith('insufficient_')
  const policy = isWordOfGitLab ? policyOf(sentence) : undefined
  if (policy) return byPolicy(policy, sentence)
  // GitLab's own sentence of insufficient_scope says no more than this.
  if (error.error === 'insufficient_scope') return { code: 'missing_scopes', detail: MISSING_SCOPES }
  if (error.error === 'insufficient_granular_scope')
    return { code: 'missing_scopes', detail: sentence || MISSING_SCOPES, lacksPermission: true }
  if (FORBIDDEN.test(error.message)) return byOwner(ownerCodeOf(sentence), sentence)
  // Any other 403 in GitLab's form is about something else, such as a right that the owner lacks.
  return isOwn ? undefined : notGitLab(answer, baseUrl)
}

/**
 * The same refusal at an instance that is known to be a GitLab: what answered in its place said nothing about the token.
 */
export const atKnownGitLab = (refusal: Refusal): Refusal =>
  refusal.code === 'not_a_gitlab'
    ? { code: 'gitlab_unavailable', detail: refusal.detail, retryAfterSeconds: DEFAULT_RETRY_SECONDS }
    : refusal

/** The refusal as the problem that we answer with. */
export const refusalProblem = ({ code, detail, tlsFault, proxyFault, retryAfterSeconds }: Refusal): Problem =>
  new Problem(
    code,
    code === 'gitlab_unavailable' ? `${detail} Nothing was changed; try again later.` : detail,
    {
      ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
      ...(tlsFault === undefined ? {} : { members: { tls_fault: tlsFault } }),
      ...(proxyFault === undefined ? {} : { members: { proxy_fault: proxyFault } }),
    },
  )
