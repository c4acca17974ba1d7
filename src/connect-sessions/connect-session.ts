import { createHash, randomBytes } from 'node:crypto'
import { isExpired, mayActIn, type Principal } from '../callers/principal.ts'
import type { ConnectSessionRow } from '../db/tables.ts'

export const METHODS = ['oauth', 'device', 'token'] as const
const SECRET_BYTES = 32
const PREFIX = 'gcs_'

/** The token in a connect link; 256 random bits, of which only the SHA-256 is stored. */
export const generateSessionToken = (): string => PREFIX + randomBytes(SECRET_BYTES).toString('base64url')

export const hashSessionToken = (token: string): Buffer => createHash('sha256').update(token).digest()

/** Why a connect link no longer works; `withdrawn` = with the access key that made it, `ended` = a caller ended it. */
export type LinkEnd = 'used' | 'ended' | 'expired' | 'withdrawn' | 'unknown'

/** @param maker the access key that made the link; undefined = deleted. */
export const linkEnd = (
  session: ConnectSessionRow | undefined,
  maker: Principal | undefined,
  now: Date,
): LinkEnd | undefined => {
  if (!session) return 'unknown'
  if (session.used_at !== null) return 'used'
  if (session.ended_at !== null) return 'ended'
  if (session.expires_at <= now) return 'expired'
  const acts = maker !== undefined && !isExpired(maker, now) && mayActIn(maker, session.organization)
  return acts ? undefined : 'withdrawn'
}

/** For the connection that a link makes or reconnects; undefined = it keeps what it has. */
export const labelsFor = ({ labels }: ConnectSessionRow): Record<string, string> | undefined =>
  Object.keys(labels).length > 0 ? labels : undefined

/** The URL, if its origin is one of those to which we may send a browser; fragments and credentials are refused. */
export const allowedReturnUrl = (text: string, returnOrigins: string[]): string | undefined => {
  if (!URL.canParse(text)) return undefined
  const url = new URL(text)
  const isPlain = url.username === '' && url.password === '' && url.hash === ''
  return isPlain && returnOrigins.includes(url.origin) ? url.href : undefined
}

export type FlowResult = { status: 'connected'; connectionId: string } | { status: 'failed'; code: string }

/** Where a browser goes after the flow: the session's return URL, or our own page, which shows the same. */
export const resultUrl = (result: FlowResult, publicUrl: string, returnUrl: string | null): string => {
  const url = new URL(returnUrl ?? `${publicUrl}/connect`)
  url.searchParams.set('status', result.status)
  if (result.status === 'connected') url.searchParams.set('connection_id', result.connectionId)
  else url.searchParams.set('code', result.code)
  return url.href
}
