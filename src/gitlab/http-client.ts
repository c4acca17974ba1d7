import type { IncomingMessage } from 'node:http'
import { rootCertificates } from 'node:tls'
import Wreck from '@hapi/wreck'
import { RequestFilteringHttpAgent, RequestFilteringHttpsAgent } from 'request-filtering-agent'
import { isLoopback } from './base-url.ts'
import { CALLS_AT_ONCE, createGuard, type Guard, type GuardOptions } from './guard.ts'
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
}

export type GitLabHttpClient = {
  baseUrl: string
  agent: RequestFilteringHttpAgent | RequestFilteringHttpsAgent
  send(request: GitLabRequest): Promise<GitLabResult>
  /** Every call to the instance goes through it, those of the OAuth client too. */
  guard: Guard
  timeoutMs: number
  close(): void
}

export type GitLabClientOptions = GuardOptions & {
  /** How long an answer may take to begin, and then how long it may take to end. */
  timeoutMs?: number | undefined
}

/**
 * Twice this time and the wait for a turn are shorter than a claim (token-lifecycle/claim.ts): no other replica
 * refreshes meanwhile.
 */
const TIMEOUT_MS = 8_000
/** An hour: who asks for more made a mistake, or means harm. */
const LONGEST_RETRY_SECONDS = 3_600
const MAX_ANSWER_BYTES = 1_048_576
/** Metadata services of clouds: never a GitLab, whatever an instance allows. Single addresses: the filter takes no
 * range of one family while it looks at an address of the other. */
const METADATA_SERVICES = ['169.254.169.254', '169.254.170.2', '100.100.100.200', 'fd00:ec2::254']
const USER_AGENT = 'gitlab-token-broker'

/** The base URL may not be called at all: plain http to a public host would show the token to the network. */
export const isSchemeAllowed = ({ baseUrl, allowPrivateNetwork }: TrustProfile): boolean =>
  baseUrl.startsWith('https:') || isLoopback(baseUrl) || allowPrivateNetwork

const createAgent = ({ baseUrl, allowPrivateNetwork, caCertificate }: TrustProfile) => {
  const options = {
    keepAlive: true,
    maxSockets: CALLS_AT_ONCE,
    allowPrivateIPAddress: allowPrivateNetwork,
    denyIPAddressList: METADATA_SERVICES,
  }
  if (baseUrl.startsWith('http:')) return new RequestFilteringHttpAgent(options)
  return new RequestFilteringHttpsAgent(
    caCertificate ? { ...options, ca: [...rootCertificates, caCertificate] } : options,
  )
}

/**
 * The one way to a GitLab instance: addresses filtered as the profile says, checked on what the name resolves to;
 * redirects not followed (they would carry the token elsewhere); size and time limited. Never throws.
 */
export const createHttpClient = (
  profile: TrustProfile,
  { timeoutMs = TIMEOUT_MS, ...options }: GitLabClientOptions,
): GitLabHttpClient => {
  const agent = createAgent(profile)
  const guard = createGuard(options)

  return {
    baseUrl: profile.baseUrl,
    agent,
    guard,
    timeoutMs,
    close: () => agent.destroy(),

    async send({ method = 'GET', path, token, json, form, basicAuth }) {
      if (!isSchemeAllowed(profile))
        return { kind: 'failure', reason: 'address_not_allowed', mayHaveActed: false }
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
        try {
          const response = await Wreck.request(method, profile.baseUrl + path, {
            agent,
            headers,
            timeout: timeoutMs,
            ...(payload === undefined ? {} : { payload }),
          })
          response.on('data', (chunk: Buffer) => {
            received += chunk.length
          })
          const bytes = await Wreck.read(response, { maxBytes: MAX_ANSWER_BYTES, timeout: timeoutMs })
          return toAnswer(response, bytes.toString('utf8'))
        } catch (error) {
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

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
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
