import type { Agent, IncomingMessage } from 'node:http'
import type { LookupFunction } from 'node:net'
import { rootCertificates } from 'node:tls'
import Wreck from '@hapi/wreck'
import { isLoopback } from './base-url.ts'
import { needsNoRoot } from './certificates.ts'
import { createFilteringAgent } from './filtering-agent.ts'
import { CALLS_AT_ONCE, createGuard, type Guard, type GuardOptions } from './guard.ts'
import { isToken } from './issued.ts'
import { classifyTransportError, type TransportFailure } from './transport-failure.ts'

/** How far an instance is trusted, set by an admin. */
export type TrustProfile = {
  baseUrl: string
  allowPrivateNetwork: boolean
  /** PEM; trusted in addition to the public certificate authorities. */
  caCertificate: string | null
}

export type GitLabAnswer = {
  kind: 'answer'
  status: number
  /** The parsed JSON. undefined = the body is no JSON. */
  body: unknown
  text: string
  retryAfterSeconds: number | undefined
  headers: IncomingMessage['headers']
}

export type GitLabResult = GitLabAnswer | TransportFailure

export type GitLabRequest = {
  method?: 'GET' | 'POST' | 'DELETE'
  /** Below the base URL, with its query: `/api/v4/user`. */
  path: string
  token?: string
  json?: unknown
  form?: Record<string, string>
  basicAuth?: { username: string; password: string }
  /** The answer holds a token that exists nowhere else: it is waited for, for minutes. */
  issuesToken?: boolean
}

export type GitLabHttpClient = {
  baseUrl: string
  agent: Agent
  send(request: GitLabRequest): Promise<GitLabResult>
  /** Every call to the instance goes through it, those of the OAuth client too. */
  guard: Guard
  /** For an answer that holds a token which exists nowhere else. */
  issuingTimeoutMs: number
  close(): void
}

export type GitLabClientOptions = GuardOptions & {
  /** How long an answer may take to begin, and then how long it may take to end. */
  timeoutMs?: number | undefined
  /** The same for an answer that holds a token which exists nowhere else. */
  issuingTimeoutMs?: number | undefined
  /** How names resolve; by the system when left out. */
  lookup?: LookupFunction | undefined
}

const TIMEOUT_MS = 8_000
/**
 * GitLab's own limit of a request is 60 s; a queue in front of it may hold the request for as long again. Hanging up
 * earlier would throw away the only copy of a token.
 */
const ISSUING_TIMEOUT_MS = 150_000
/** An idle socket closes itself, also when nobody has its client any more; before the web servers of GitLab close it. */
const IDLE_SOCKET_MS = 60_000
/** An hour: who asks for more made a mistake, or means harm. */
const LONGEST_RETRY_SECONDS = 3_600
export const MAX_ANSWER_BYTES = 1_048_576
const USER_AGENT = 'gitlab-token-broker'

/** The base URL may not be called at all: plain http to a public host would show the token to the network. */
export const isSchemeAllowed = ({ baseUrl, allowPrivateNetwork }: TrustProfile): boolean =>
  baseUrl.startsWith('https:') || isLoopback(baseUrl) || allowPrivateNetwork

const createAgent = (
  { baseUrl, allowPrivateNetwork, caCertificate }: TrustProfile,
  lookup: LookupFunction | undefined,
): Agent =>
  createFilteringAgent(
    baseUrl.startsWith('http:') ? 'http:' : 'https:',
    { allowPrivateNetwork, lookup },
    {
      keepAlive: true,
      maxSockets: CALLS_AT_ONCE,
      timeout: IDLE_SOCKET_MS,
      ...(caCertificate
        ? { ca: [...rootCertificates, caCertificate], allowPartialTrustChain: needsNoRoot(caCertificate) }
        : {}),
    },
  )

/**
 * The one way to a GitLab instance: addresses filtered as the profile says, checked on what the name resolves to;
 * redirects not followed (they would carry the token elsewhere); size and time limited. Never throws.
 */
export const createHttpClient = (
  profile: TrustProfile,
  { timeoutMs = TIMEOUT_MS, issuingTimeoutMs = ISSUING_TIMEOUT_MS, lookup, ...options }: GitLabClientOptions,
): GitLabHttpClient => {
  const agent = createAgent(profile, lookup)
  const guard = createGuard(options)

  return {
    baseUrl: profile.baseUrl,
    agent,
    guard,
    issuingTimeoutMs,
    close: () => agent.destroy(),

    async send({ method = 'GET', path, token, json, form, basicAuth, issuesToken }) {
      const timeout = issuesToken ? issuingTimeoutMs : timeoutMs
      if (!isSchemeAllowed(profile))
        return { kind: 'failure', reason: 'address_not_allowed', mayHaveActed: false }
      // Rows of before may hold anything. Node would throw, and its error would read like a cut connection.
      if (token !== undefined && !isToken(token))
        return { kind: 'failure', reason: 'unsendable', mayHaveActed: false }
      const headers: Record<string, string> = { accept: 'application/json', 'user-agent': USER_AGENT }
      if (token !== undefined) headers.authorization = `Bearer ${token}`
      if (basicAuth) {
        const pair = `${basicAuth.username}:${basicAuth.password}`
        headers.authorization = `Basic ${Buffer.from(pair).toString('base64')}`
      }
      if (json !== undefined) headers['content-type'] = 'application/json'
      if (form) headers['content-type'] = 'application/x-www-form-urlencoded'
      const payload = form
        ? new URLSearchParams(form).toString()
        : json === undefined
          ? undefined
          : JSON.stringify(json)
      return guard<GitLabResult>(async () => {
        let received = 0
        const end = performance.now() + timeout
        let response: IncomingMessage | undefined
        try {
          response = await Wreck.request(method, profile.baseUrl + path, {
            agent,
            headers,
            timeout,
            ...(payload === undefined ? {} : { payload }),
          })
          response.on('data', (chunk: Buffer) => {
            received += chunk.length
          })
          const bytes = await Wreck.read(response, {
            maxBytes: MAX_ANSWER_BYTES,
            timeout: Math.max(1, Math.ceil(end - performance.now())),
          })
          return toAnswer(response, bytes.toString('utf8'))
        } catch (error) {
          // Wreck stops reading when the time is up, and leaves the socket in use for as long as the answer trickles.
          response?.destroy()
          // Wreck cuts an answer over maxBytes, and reports the cut.
          if (received > MAX_ANSWER_BYTES)
            return { kind: 'failure', reason: 'answer_too_large', mayHaveActed: true }
          return classifyTransportError(error)
        }
      })
    },
  }
}

const toAnswer = (response: IncomingMessage, text: string): GitLabAnswer => ({
  kind: 'answer',
  status: response.statusCode ?? 0,
  body: parseJson(text),
  text,
  retryAfterSeconds: readRetryAfter(response.headers['retry-after']),
  headers: response.headers,
})

/** Of any content type; what is no JSON is undefined. Proxies and plugins put a byte order mark before it. */
export const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text.replace(/^\uFEFF/, ''))
  } catch {
    return undefined
  }
}

/** Retry-After in seconds (RFC 9110, section 10.2.3); the form with a date is taken relative to now. */
export const readRetryAfter = (value: string | undefined): number | undefined => {
  if (value === undefined) return undefined
  const seconds = /^\d+$/.test(value) ? Number(value) : Math.ceil((Date.parse(value) - Date.now()) / 1000)
  return Number.isNaN(seconds) ? undefined : Math.min(LONGEST_RETRY_SECONDS, Math.max(0, seconds))
}
