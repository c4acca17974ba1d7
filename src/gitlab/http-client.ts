import { hash } from 'node:crypto'
import type { Agent, IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { LookupFunction } from 'node:net'
import { rootCertificates } from 'node:tls'
import Wreck from '@hapi/wreck'
import type { EnvironmentProxy } from '../config/proxy.ts'
import { isLoopback } from './base-url.ts'
import { needsNoRoot } from './certificates.ts'
import { NOT_COMPRESSED, unpackBody } from './content-encoding.ts'
import { createFilteringAgent } from './filtering-agent.ts'
import { type AboutCall, CALLS_AT_ONCE, createGuard, type Guard, type GuardOptions } from './guard.ts'
import { isToken } from './issued.ts'
import { proxyFor } from './proxy.ts'
import { classifyTransportError, type TransportFailure } from './transport-failure.ts'

/** How far an instance is trusted, set by an admin. */
export type TrustProfile = {
  baseUrl: string
  allowPrivateNetwork: boolean
  /** PEM; trusted in addition to the public certificate authorities. */
  caCertificate: string | null
  /** A proxy of its own; null = that of the environment, if there is one. */
  proxyUrl?: string | null
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
  /** Besides those that every request has. */
  headers?: Record<string, string>
  /** The answer holds a token that exists nowhere else: it is waited for, for minutes. */
  issuesToken?: boolean
  /** Asked when it is the turn of the call. @returns why it is not to be sent after all. */
  turnAway?: AboutCall['turnAway']
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
  /** How long an answer may take, from the request to its last byte. */
  timeoutMs?: number | undefined
  /** The same for an answer that holds a token which exists nowhere else. */
  issuingTimeoutMs?: number | undefined
  /** How names resolve; by the system when left out. */
  lookup?: LookupFunction | undefined
  /** For whatever has no proxy of its own. */
  environmentProxy?: EnvironmentProxy | undefined
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
/** Of the time for an answer. */
const PART_OF_PROXY = 0.6
const USER_AGENT = 'gitlab-token-broker'
/** With which tokens are shown to the Git endpoint: any name that is not blank will do. */
export const GIT_USERNAME = 'oauth2'

/** The base URL may not be called at all: plain http to a public host would show the token to the network. */
export const isSchemeAllowed = ({ baseUrl, allowPrivateNetwork }: TrustProfile): boolean =>
  baseUrl.startsWith('https:') || isLoopback(baseUrl) || allowPrivateNetwork

const createAgent = (
  { baseUrl, allowPrivateNetwork, caCertificate, proxyUrl = null }: TrustProfile,
  { lookup, environmentProxy, timeoutMs = TIMEOUT_MS }: GitLabClientOptions,
): Agent =>
  createFilteringAgent(
    baseUrl.startsWith('http:') ? 'http:' : 'https:',
    {
      allowPrivateNetwork,
      lookup,
      proxy: proxyFor(baseUrl, { proxyUrl, environment: environmentProxy }),
      // Sooner than the answer: a proxy that says nothing is not taken for a GitLab that says nothing.
      proxyTimeoutMs: timeoutMs * PART_OF_PROXY,
      authorities: caCertificate ?? undefined,
    },
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
export const createHttpClient = (profile: TrustProfile, options: GitLabClientOptions): GitLabHttpClient => {
  const { timeoutMs = TIMEOUT_MS, issuingTimeoutMs = ISSUING_TIMEOUT_MS } = options
  const agent = createAgent(profile, options)
  const guard = createGuard(options)
  const { clock } = options

  return {
    baseUrl: profile.baseUrl,
    agent,
    guard,
    issuingTimeoutMs,
    close: () => agent.destroy(),

    async send({ method = 'GET', path, token, json, form, basicAuth, headers: more, issuesToken, turnAway }) {
      const timeout = issuesToken ? issuingTimeoutMs : timeoutMs
      if (!isSchemeAllowed(profile))
        return { kind: 'failure', reason: 'address_not_allowed', mayHaveActed: false }
      // Rows of before may hold anything. Node would throw, and its error would read like a cut connection.
      if (token !== undefined && !isToken(token))
        return { kind: 'failure', reason: 'unsendable', mayHaveActed: false }
      const headers: Record<string, string> = {
        accept: 'application/json',
        'user-agent': USER_AGENT,
        ...NOT_COMPRESSED,
        ...more,
      }
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
      const shown = token ?? (basicAuth?.username === GIT_USERNAME ? basicAuth.password : undefined)
      const about = { account: shown && accountName(shown), turnAway }
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
          const unpacked = unpackBody(bytes, response.headers, MAX_ANSWER_BYTES)
          if (!unpacked) return { kind: 'failure', reason: 'answer_too_large', mayHaveActed: true }
          return toAnswer(response, unpacked.toString('utf8'), clock())
        } catch (error) {
          // Wreck stops reading when the time is up, and leaves the socket in use for as long as the answer trickles.
          response?.destroy()
          // Wreck cuts an answer over maxBytes, and reports the cut.
          if (received > MAX_ANSWER_BYTES)
            return { kind: 'failure', reason: 'answer_too_large', mayHaveActed: true }
          return classifyTransportError(error)
        }
      }, about)
    },
  }
}

/** A token by a name that tells nothing of it. */
export const accountName = (token: string): string => hash('sha256', token, 'base64url').slice(0, 22)

const toAnswer = (response: IncomingMessage, text: string, now: number): GitLabAnswer => ({
  kind: 'answer',
  status: response.statusCode ?? 0,
  body: parseJson(text),
  text,
  retryAfterSeconds: readRetryAfter(response.headers, now),
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

/**
 * Retry-After in seconds (RFC 9110, section 10.2.3). The form with a date is counted from the Date of the same answer:
 * the clock of GitLab may differ from ours.
 * @param now for an answer that has no Date.
 */
export const readRetryAfter = (
  { 'retry-after': value, date }: Pick<IncomingHttpHeaders, 'retry-after' | 'date'>,
  now: number,
): number | undefined => {
  if (value === undefined) return undefined
  const answeredAt = Date.parse(date ?? '')
  const from = Number.isNaN(answeredAt) ? now : answeredAt
  const seconds = /^\d+$/.test(value) ? Number(value) : Math.ceil((Date.parse(value) - from) / 1000)
  return Number.isNaN(seconds) ? undefined : Math.min(LONGEST_RETRY_SECONDS, Math.max(0, seconds))
}
