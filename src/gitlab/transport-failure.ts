import { ADDRESS_NOT_ALLOWED } from './filtering-agent.ts'

/** GitLab gave no usable answer. */
export type TransportFailure = {
  kind: 'failure'
  reason:
    | 'address_not_allowed'
    | 'tls_not_trusted'
    | 'unreachable'
    | 'timeout'
    | 'cut'
    | 'answer_too_large'
    /** Not sent: the stored token has characters that no header can carry. */
    | 'unsendable'
    /** Not sent: too many calls at once, or GitLab failed too often in a row (guard.ts). */
    | 'overloaded'
    /** Not sent: GitLab asked for a pause. */
    | 'rate_limited'
  /** Whether the request may have reached GitLab, which may then have acted on it. */
  mayHaveActed: boolean
  retryAfterSeconds?: number
}

const TLS_ERRORS =
  /^(UNABLE_TO_|SELF_SIGNED_CERT|DEPTH_ZERO_SELF_SIGNED|CERT_|ERR_TLS_CERT|ERR_SSL_|HOSTNAME_MISMATCH|EPROTO)/
/** Errors before a connection stands: nothing has been sent. */
const NOT_CONNECTED = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EAFNOSUPPORT',
])

type Cause = { code?: unknown; message?: unknown; syscall?: unknown; cause?: unknown; errors?: unknown[] }

/** An error and everything that it wraps: Boom's data, causes, and the parts of an AggregateError. */
const causesOf = (error: unknown, depth = 0): Cause[] => {
  if (typeof error !== 'object' || error === null || depth > 5) return []
  const { cause, data, errors } = error as Cause & { data?: unknown }
  return [error as Cause, ...[cause, data, ...(errors ?? [])].flatMap((inner) => causesOf(inner, depth + 1))]
}

export const classifyTransportError = (error: unknown): TransportFailure => {
  const causes = causesOf(error)
  const codes = causes.map(({ code }) => code).filter((code) => typeof code === 'string')
  const messages = causes.map(({ message }) => String(message ?? ''))

  if (codes.includes(ADDRESS_NOT_ALLOWED)) {
    return { kind: 'failure', reason: 'address_not_allowed', mayHaveActed: false }
  }
  if (codes.some((code) => TLS_ERRORS.test(code))) {
    return { kind: 'failure', reason: 'tls_not_trusted', mayHaveActed: false }
  }
  if (codes.some((code) => NOT_CONNECTED.has(code)) || causes.some(({ syscall }) => syscall === 'connect')) {
    return { kind: 'failure', reason: 'unreachable', mayHaveActed: false }
  }
  const status = (error as { output?: { statusCode?: number } } | null)?.output?.statusCode
  if (status === 413) return { kind: 'failure', reason: 'answer_too_large', mayHaveActed: true }
  if (status === 504 || messages.some((message) => /timed? ?out/i.test(message))) {
    return { kind: 'failure', reason: 'timeout', mayHaveActed: true }
  }
  return { kind: 'failure', reason: 'cut', mayHaveActed: true }
}
