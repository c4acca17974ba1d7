import type { ProblemCode } from '../errors/catalogue.ts'
import { Problem } from '../errors/problem.ts'
import type { TlsFault } from '../errors/tls-faults.ts'
import { readError } from './answers.ts'
import type { GitLabResult } from './http-client.ts'
import { tlsSentence } from './tls-fault.ts'

/** Why GitLab gave no good answer, in the words of our catalogue. */
export type Refusal = {
  code: Extract<
    ProblemCode,
    | 'token_unknown'
    | 'token_expired'
    | 'token_revoked'
    | 'user_blocked'
    | 'missing_scopes'
    | 'dpop_required'
    | 'not_a_gitlab'
    | 'tls_not_trusted'
    | 'address_not_allowed'
    | 'gitlab_unavailable'
  >
  detail: string
  /** Of `tls_not_trusted`. */
  tlsFault?: TlsFault | undefined
  retryAfterSeconds?: number
}

const DEFAULT_RETRY_SECONDS = 30
/** GitLab's own sentence of a 403 (lib/api/api_guard.rb), in our words: what a server writes there is not passed on. */
const MISSING_SCOPES = 'The request requires higher privileges than the scopes of the token give.'

const unavailable = (what: string, retryAfterSeconds = DEFAULT_RETRY_SECONDS): Refusal => ({
  code: 'gitlab_unavailable',
  detail: `GitLab ${what}.`,
  retryAfterSeconds,
})

/**
 * Why GitLab refused a call with a token. GitLab tells unknown, expired and revoked tokens apart by the body of its
 * 401 (lib/api/api_guard.rb); a blocked user is a 403 with a message.
 * @returns undefined when the answer is no refusal of the token: 2xx, or a 4xx about something else.
 */
export const refusalOf = (result: GitLabResult, baseUrl: string): Refusal | undefined => {
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
      case 'unreachable':
        return unavailable(`at ${baseUrl} cannot be reached`)
      case 'timeout':
        return unavailable(`at ${baseUrl} took too long to answer`)
      case 'cut':
        return unavailable(`at ${baseUrl} closed the connection without an answer`)
      case 'overloaded':
        return unavailable(`at ${baseUrl} failed too often just now`, result.retryAfterSeconds)
      case 'rate_limited':
        return unavailable('limits how often it may be asked right now', result.retryAfterSeconds)
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

  const error = readError(body)
  if (status === 401 && /DPoP/.test(text)) {
    return {
      code: 'dpop_required',
      detail: 'The owner of the token has switched on DPoP for API calls, which rules out stored tokens.',
    }
  }
  if (error === undefined && status !== 204) {
    return {
      code: 'not_a_gitlab',
      detail: `${baseUrl} does not answer like a GitLab API. Is the base URL complete?`,
    }
  }
  const { description = '', message = '' } = error ?? {}
  if (status === 401 && /expired/i.test(description) && !/revoked/i.test(description)) {
    return { code: 'token_expired', detail: 'The token has expired. Create a new one at GitLab.' }
  }
  if (status === 401 && /revoked/i.test(description)) {
    return { code: 'token_revoked', detail: 'The token was revoked at GitLab. Create a new one.' }
  }
  if (status === 401) {
    return {
      code: 'token_unknown',
      detail: `GitLab at ${baseUrl} does not know this token. Was all of it copied, and from this instance?`,
    }
  }
  if (status === 403 && error?.error === 'insufficient_scope') {
    return { code: 'missing_scopes', detail: MISSING_SCOPES }
  }
  // Any other 403 is about something else: a proxy in between, or a rule of the instance.
  if (status === 403 && /^403 Forbidden - /.test(message)) {
    return {
      code: 'user_blocked',
      detail: 'GitLab refuses the owner of the token: the account is blocked or deactivated.',
    }
  }
  return undefined
}

/** The refusal as the problem that we answer with. */
export const refusalProblem = ({ code, detail, tlsFault, retryAfterSeconds }: Refusal): Problem =>
  new Problem(
    code,
    code === 'gitlab_unavailable' ? `${detail} Nothing was changed; try again later.` : detail,
    {
      ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
      ...(tlsFault === undefined ? {} : { members: { tls_fault: tlsFault } }),
    },
  )
