import type { IncomingHttpHeaders } from 'node:http'
import { unpackBody } from '../gitlab/content-encoding.ts'
import { MAX_ANSWER_BYTES, parseJson } from '../gitlab/http-client.ts'
import { isToken, readLifetime, readScopes } from '../gitlab/issued.ts'
import { isAddressBan } from '../gitlab/throttle.ts'
import type { classifyTransportError, TransportFailure } from '../gitlab/transport-failure.ts'

/** What GitLab issued (RFC 6749, section 5.1). Both tokens replace the ones before. */
export type TokenSet = {
  accessToken: string
  refreshToken: string | null
  /** Seconds from the answer; null = it does not expire. */
  expiresIn: number | null
  scopes: string[]
}

export type TokenAnswer =
  | { kind: 'issued'; tokenSet: TokenSet }
  /** RFC 6749, section 5.2: invalid_grant, invalid_client, ... */
  | { kind: 'refused'; error: string }
  /** What else there is in the answer tells whom the limit is about (gitlab/throttle.ts). */
  | {
      kind: 'rate_limited'
      retryAfterSeconds: number | undefined
      body?: unknown
      headers?: IncomingHttpHeaders
    }
  /** GitLab has banned our address (gitlab/throttle.ts). */
  | { kind: 'banned'; retryAfterSeconds: number | undefined }
  /** 5xx: GitLab may have acted before it failed. */
  | { kind: 'server_error'; status: number; retryAfterSeconds: number | undefined }
  /** An answer that is not GitLab's: an HTML page of a proxy, JSON without a token. */
  | { kind: 'unreadable'; status: number | undefined }
  | { kind: 'invalid_state' }
  | TransportFailure

/** RFC 6749, section 5.2. Anything else is no word of a token endpoint: a proxy's, or a plugin's. */
const ERROR_CODES: ReadonlySet<unknown> = new Set([
  'invalid_client',
  'invalid_grant',
  'invalid_request',
  'invalid_scope',
  'unauthorized_client',
  'unsupported_grant_type',
])

/** The newer auth service in its older versions, of a refresh token that was used or revoked. */
const isInactive = (code: unknown, status: number): boolean =>
  code === 'token_inactive' && (status === 400 || status === 401)

/** The token counts, whatever else the answer says: it exists nowhere else. */
export const readTokenSet = (raw: unknown): TokenAnswer => {
  const { access_token, refresh_token, expires_in, scope } = (raw ?? {}) as Record<string, unknown>
  if (!isToken(access_token)) return { kind: 'unreadable', status: undefined }
  return {
    kind: 'issued',
    tokenSet: {
      accessToken: access_token,
      refreshToken: isToken(refresh_token) ? refresh_token : null,
      expiresIn: readLifetime(expires_in),
      scopes: readScopes(scope) ?? [],
    },
  }
}

/** An error of @hapi/wreck: an HTTP status with its payload, or a transport error. */
type WreckError = {
  data?: {
    payload?: unknown
    res?: { statusCode?: number; headers?: IncomingHttpHeaders; destroy?(): void }
  }
  output?: { statusCode?: number }
}

export const classifyTokenError = (
  error: unknown,
  classifyTransport: typeof classifyTransportError,
  retryAfterOf: (headers: IncomingHttpHeaders) => number | undefined,
): TokenAnswer => {
  const { data } = (error ?? {}) as WreckError
  // An answer that was not read to its end would keep its socket for as long as it trickles.
  if (data?.payload === undefined) data?.res?.destroy?.()
  const status = data?.res?.statusCode
  if (status === undefined) return classifyTransport(error)
  const headers = data?.res?.headers
  const retryAfterSeconds = retryAfterOf(headers ?? {})
  if (status >= 500) return { kind: 'server_error', status, retryAfterSeconds }
  // JSON that Wreck does not read: compressed, with a byte order mark before it, or with a member __proto__.
  const payload = Buffer.isBuffer(data?.payload)
    ? unpackBody(data.payload, headers ?? {}, MAX_ANSWER_BYTES)
    : data?.payload
  const body = Buffer.isBuffer(payload) ? parseJson(payload.toString('utf8')) : payload
  if (status === 429)
    return { kind: 'rate_limited', retryAfterSeconds, body, ...(headers ? { headers } : {}) }
  if (status < 300) return readTokenSet(body)
  const text = Buffer.isBuffer(payload) ? payload.toString('utf8') : ''
  if (isAddressBan({ status, body, text })) return { kind: 'banned', retryAfterSeconds }
  const { error: code } = (body ?? {}) as { error?: unknown }
  if (isInactive(code, status)) return { kind: 'refused', error: 'invalid_grant' }
  // Death needs proof: GitLab says this with 400 (RFC 6749, section 5.2), and a gateway in front of it need not.
  const isOutOfPlace = code === 'invalid_grant' && status !== 400
  return typeof code === 'string' && ERROR_CODES.has(code) && !isOutOfPlace
    ? { kind: 'refused', error: code }
    : { kind: 'unreadable', status }
}
