import { decodeJwt } from 'jose'
import { readScopes } from './issued.ts'

/** Tokens of GitLab's newer auth service: `gliamat-` before a JWT. Its refresh tokens begin with `gliamrt-`. */
const PREFIX = 'gliamat-'
const USER_ID = /^[1-9]\d{0,18}$/

export const isIamToken = (accessToken: string): boolean => accessToken.startsWith(PREFIX)

/** What such a token says of itself. Nobody has checked its signature: for the scopes and the end that people read, not more. */
export const readIamClaims = (
  accessToken: string,
  now: Date,
): { userId: string | undefined; scopes: string[]; expiresAt: Date | null } => {
  const { sub, scope, scp, exp } = claimsOf(accessToken)
  const end = typeof exp === 'number' ? new Date(exp * 1000) : null
  return {
    userId: typeof sub === 'string' && USER_ID.test(sub) ? sub : undefined,
    scopes: readScopes(scope ?? scp) ?? [],
    expiresAt: end !== null && end > now ? end : null,
  }
}

const claimsOf = (accessToken: string): Record<string, unknown> => {
  try {
    return decodeJwt(accessToken.slice(PREFIX.length))
  } catch {
    return {}
  }
}
