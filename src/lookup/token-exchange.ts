import type { WayToIdentify } from '../callers/authenticator.ts'
import type { Principal } from '../callers/principal.ts'
import { secondsUntil } from '../clock/clock.ts'
import { statusOf } from '../errors/catalogue.ts'
import type { Problem } from '../errors/problem.ts'
import { parseResourceUrl } from '../gitlab/repository-url.ts'
import { type FindByUrlDeps, leaseTokenByUrl } from './find-by-url.ts'

/** OAuth 2.0 token exchange (RFC 8693): the token of a workload for the GitLab token of a repository. */

export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
export const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
export const SUBJECT_TOKEN_TYPES = [
  'urn:ietf:params:oauth:token-type:jwt',
  'urn:ietf:params:oauth:token-type:id_token',
]

/** Errors of RFC 6749, section 5.2, and RFC 8707, section 2; the last two are those of its section 4.1.2.1. */
export type OAuthErrorCode =
  | 'invalid_client'
  | 'invalid_request'
  | 'invalid_target'
  | 'unauthorized_client'
  | 'unsupported_grant_type'
  | 'temporarily_unavailable'
  | 'server_error'

export class OAuthError extends Error {
  readonly error: OAuthErrorCode

  constructor(error: OAuthErrorCode, description: string) {
    super(description)
    this.name = 'OAuthError'
    this.error = error
  }
}

export type ExchangeRequest = {
  grant_type: string
  subject_token: string
  subject_token_type: string
  resource: string
  requested_token_type?: string | undefined
  actor_token?: string | undefined
  organization?: string | undefined
  min_ttl?: string | undefined
  purpose?: string | undefined
}

export type ExchangeAnswer = {
  access_token: string
  issued_token_type: typeof ACCESS_TOKEN
  token_type: 'Bearer'
  /** Left out when the token never ends. */
  expires_in?: number
  scope: string
  lease_id: string
}

export type ExchangeDeps = FindByUrlDeps & { workloads: WayToIdentify }

/** First of all: what else a request lacks depends on its grant. @throws {OAuthError} */
export const requireGrantType = (body: unknown): void => {
  const { grant_type } = (body ?? {}) as { grant_type?: unknown }
  if (typeof grant_type === 'string' && grant_type !== TOKEN_EXCHANGE)
    throw new OAuthError('unsupported_grant_type', `grant_type must be ${TOKEN_EXCHANGE}`)
}

const requireSupported = (request: ExchangeRequest): void => {
  if (!SUBJECT_TOKEN_TYPES.includes(request.subject_token_type))
    throw new OAuthError('invalid_request', `subject_token_type must be ${SUBJECT_TOKEN_TYPES.join(' or ')}`)
  if (request.requested_token_type !== undefined && request.requested_token_type !== ACCESS_TOKEN)
    throw new OAuthError('invalid_request', `requested_token_type must be ${ACCESS_TOKEN}, or left out`)
  if (request.actor_token !== undefined)
    throw new OAuthError('invalid_request', 'actor_token is not supported: nobody acts for another here')
  if (!parseResourceUrl(request.resource))
    throw new OAuthError('invalid_target', 'resource is not the URL of a repository or group')
}

/**
 * Whose token a request exchanges.
 * @throws {OAuthError}
 * @throws {Problem} those of identifying: see toOAuthError
 */
export const identifyWorkload = async (
  deps: Pick<ExchangeDeps, 'workloads'>,
  request: ExchangeRequest,
): Promise<Principal> => {
  requireSupported(request)
  const principal = await deps.workloads.identify(request.subject_token)
  if (!principal) throw new OAuthError('invalid_request', 'subject_token is no JWT')
  if (principal.restrictions.readOnly)
    throw new OAuthError(
      'unauthorized_client',
      'The rule for this workload is read-only: it gets no credential',
    )
  return principal
}

/**
 * Exchanges the token of a workload for a GitLab token of the repository that `resource` names, with its lease.
 * @throws {Problem} those of leaseTokenByUrl: see toOAuthError
 */
export const exchangeToken = async (
  deps: ExchangeDeps,
  principal: Principal,
  request: ExchangeRequest,
): Promise<ExchangeAnswer> => {
  const { row, token } = await leaseTokenByUrl(
    deps,
    principal,
    { url: request.resource, organization: request.organization },
    {
      minTtl: request.min_ttl === undefined ? undefined : Number(request.min_ttl),
      onConflict: 'respect',
      purpose: request.purpose,
    },
  )
  const now = new Date(deps.clock())
  const { token_expires_at } = row
  return {
    access_token: token,
    issued_token_type: ACCESS_TOKEN,
    token_type: 'Bearer',
    ...(token_expires_at === null ? {} : { expires_in: Math.max(0, secondsUntil(token_expires_at, now)) }),
    scope: row.scopes.join(' '),
    lease_id: row.lease_id,
  }
}

const UNAVAILABLE = 503
const TOO_MANY = 429

/** A problem in the words of OAuth, and the status that belongs to it there. */
export const toOAuthError = ({ code }: Problem): { error: OAuthErrorCode; status: number } => {
  const status = statusOf(code)
  if (status === UNAVAILABLE || code === 'token_in_use')
    return { error: 'temporarily_unavailable', status: UNAVAILABLE }
  if (status === TOO_MANY) return { error: 'temporarily_unavailable', status }
  if (status >= 500) return { error: 'server_error', status }
  if (status === 413 || status === 415) return { error: 'invalid_request', status }
  switch (code) {
    // RFC 8693, section 2.2.2: a subject token that is not accepted is an invalid request.
    case 'invalid_request':
    case 'organization_required':
    case 'unauthorized':
      return { error: 'invalid_request', status: 400 }
    case 'forbidden':
    case 'sealed_answer_required':
      return { error: 'unauthorized_client', status: 400 }
    default:
      return { error: 'invalid_target', status: 400 }
  }
}
