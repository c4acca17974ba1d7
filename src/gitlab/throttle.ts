import type { IncomingHttpHeaders } from 'node:http'
import { isGitSentence, knownOwnerCode, policyOf } from './owner-refusal.ts'

/** What GitLab limits, and for how long. Pure. */

/** `account`: one token, or the account behind it. `address`: all that we send to the instance. */
export type ThrottleScope = 'account' | 'address'

const LONGEST_NAME = 100

/** RateLimit-Name as GitLab writes it; undefined = there is none. */
export const throttleName = (headers: IncomingHttpHeaders | undefined): string | undefined => {
  const name = headers?.['ratelimit-name']
  return typeof name === 'string' && /^[\w.-]+$/.test(name) ? name.slice(0, LONGEST_NAME) : undefined
}

/**
 * Whom a 429 is about. GitLab's own throttles say so by their names. A 429 in JSON comes from the application, which
 * counts by account. Whatever names nothing is taken for a limit on our address.
 */
export const throttleScope = (headers: IncomingHttpHeaders | undefined, body: unknown): ThrottleScope => {
  const name = throttleName(headers)
  if (name !== undefined) return name.startsWith('throttle_authenticated') ? 'account' : 'address'
  return typeof body === 'object' && body !== null && 'message' in body ? 'account' : 'address'
}

/** The unit is a quarter of the limit. The order of accounts then changes rarely, and not with every request. */
export const WHOLE_RATE = 4
const LONGEST_RATE_SECONDS = 3_600

export type RateLeft = { left: number; until: number }

/**
 * What GitLab says is left of the limit of an account; undefined = nothing, or of another limit.
 * @property until in ms
 */
export const rateLeft = (headers: IncomingHttpHeaders | undefined, now: number): RateLeft | undefined => {
  if (headers === undefined || !throttleName(headers)?.startsWith('throttle_authenticated')) return undefined
  const numberOf = (name: string) => Number.parseInt(String(headers[name]), 10)
  const limit = numberOf('ratelimit-limit')
  const remaining = numberOf('ratelimit-remaining')
  const reset = numberOf('ratelimit-reset') * 1000
  if (!(limit > 0) || !(remaining >= 0) || !(reset > now)) return undefined
  const left = Math.min(WHOLE_RATE, Math.ceil((WHOLE_RATE * remaining) / limit))
  return { left, until: Math.min(reset, now + LONGEST_RATE_SECONDS * 1000) }
}

export const SHORTEST_BAN_SECONDS = 900
export const LONGEST_BAN_SECONDS = 3_600

/** Texts of gateways that refuse one request. Git's own refusals are texts too, and begin like this. */
const NO_BAN = /rbac|denied|error code|request blocked|not allowed|you are |waf|policy|reference/i
const LONGEST_TEXT = 200

/**
 * Whether a 403 says that GitLab has banned our address for too many refused requests: a short plain text, where GitLab
 * refuses a token in JSON and a firewall shows a page.
 */
export const isAddressBan = (answer: { status: number; body: unknown; text: string }): boolean => {
  if (answer.status !== 403 || answer.body !== undefined) return false
  const text = answer.text.trim()
  if (isGitSentence(text) && (policyOf(text) ?? knownOwnerCode(text))) return false
  return text !== '' && text.length <= LONGEST_TEXT && !text.includes('<') && !NO_BAN.test(text)
}

/** How long to leave the instance alone: as long as GitLab says, and never less than its shortest ban. */
export const banSeconds = (retryAfterSeconds: number | undefined, bansBefore: number): number =>
  Math.min(
    LONGEST_BAN_SECONDS,
    Math.max(retryAfterSeconds ?? 0, SHORTEST_BAN_SECONDS * 2 ** Math.min(bansBefore, 2)),
  )
