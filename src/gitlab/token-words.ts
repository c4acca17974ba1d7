import type { ErrorAnswer } from './answers.ts'

/**
 * GitLab's own words about a token that does not work. A 401 in any other words comes from what stands in front of
 * GitLab (a login proxy, a gateway, a firewall) and says nothing about the token. Pure.
 */

export type TokenDeath = 'token_unknown' | 'token_expired' | 'token_revoked'

/** `error: invalid_token` of lib/api/api_guard.rb, and of doorkeeper at /oauth/token/info. */
const DESCRIPTIONS: [TokenDeath, RegExp][] = [
  ['token_expired', /^token is expired\. you can either do re-authorization or token refresh\.?$/i],
  ['token_expired', /^the access token (has )?expired\.?$/i],
  ['token_revoked', /^token was revoked\. you have to re-authorize from the user\.?$/i],
  ['token_revoked', /^the access token was revoked\.?$/i],
  ['token_unknown', /^the access token is invalid\.?$/i],
  ['token_unknown', /^token is an impersonation token but impersonation was disabled\.?$/i],
]

/** Older servers name the same answer of /oauth/token/info `invalid_request`. */
const ERRORS: ReadonlySet<string> = new Set(['invalid_token', 'invalid_request'])

/** @returns undefined when these are not GitLab's words about a token. */
export const deathOf = ({ error, description, message }: ErrorAnswer): TokenDeath | undefined => {
  if (error === '' && description === '' && message === '401 Unauthorized') return 'token_unknown'
  if (!ERRORS.has(error)) return undefined
  return DESCRIPTIONS.find(([, pattern]) => pattern.test(description))?.[0]
}

/** Whether an error body has a form in which GitLab writes errors, whatever it says. */
export const isGitLabError = ({ error, message }: ErrorAnswer, status: number): boolean =>
  message.startsWith(`${status} `) || error !== ''
