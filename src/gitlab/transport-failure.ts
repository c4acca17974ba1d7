import type { ProxyFault } from '../errors/proxy-faults.ts'
import type { TlsFault } from '../errors/tls-faults.ts'
import { ADDRESS_NOT_ALLOWED } from './filtering-agent.ts'
import { tlsFaultOf } from './tls-fault.ts'
import { ProxyError } from './tunnel.ts'

/** GitLab gave no usable answer. */
export type TransportFailure = {
  kind: 'failure'
  reason:
    | 'address_not_allowed'
    | 'tls_not_trusted'
    | 'unreachable'
    /** The proxy on the way let nothing through. */
    | 'proxy_failed'
    | 'timeout'
    | 'cut'
    | 'answer_too_large'
    /** Not sent: the stored token has characters that no header can carry. */
    | 'unsendable'
    /** Not sent: too many calls at once, or GitLab failed too often in a row (guard.ts). */
    | 'overloaded'
    /** Not sent: GitLab asked for a pause. */
    | 'rate_limited'
    /** Not sent: GitLab has banned our address for a while. */
    | 'address_banned'
  /** Whether the request may have reached GitLab, which may then have acted on it. */
  mayHaveActed: boolean
  /** `unreachable`: DNS knows no host of this name. */
  isHostUnknown?: true
  /** `tls_not_trusted`: why. */
  tlsFault?: TlsFault
  /** `proxy_failed`: why, and what the proxy answered. */
  proxyFault?: ProxyFault
  proxyStatus?: number | undefined
  retryAfterSeconds?: number
}

/** Node has no code of its own for this. */
const CLOSED_IN_HANDSHAKE = /before secure TLS connection was established/
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
  const proxy = causes.find((cause) => cause instanceof ProxyError)
  if (proxy) {
    const { proxyFault, status } = proxy
    return { kind: 'failure', reason: 'proxy_failed', proxyFault, proxyStatus: status, mayHaveActed: false }
  }
  const tlsFault = tlsFaultOf(codes, messages)
  if (tlsFault) return { kind: 'failure', reason: 'tls_not_trusted', tlsFault, mayHaveActed: false }
  if (messages.some((message) => CLOSED_IN_HANDSHAKE.test(message))) {
    return { kind: 'failure', reason: 'unreachable', mayHaveActed: false }
  }
  if (codes.includes('ENOTFOUND'))
    return { kind: 'failure', reason: 'unreachable', isHostUnknown: true, mayHaveActed: false }
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
