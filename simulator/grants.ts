import { createHash, randomBytes } from 'node:crypto'
import { type Clock, secondsOf } from './clock.ts'
import type { EventLog } from './events.ts'
import { type Engine, newIamAccessToken, newIamCode, newIamRefreshToken } from './iam.ts'
import type { User } from './people.ts'
import { includesAll, OAUTH_SCOPES, sameScopes } from './scopes.ts'

export type OAuthApp = {
  clientId: string
  clientSecret: string
  redirectUris: string[]
  scopes: string[]
  trusted: boolean
  /** Which auth service issues its tokens. */
  engine: Engine
}

export type NewApp = {
  clientId: string
  clientSecret: string
  redirectUris: string[]
  scopes?: string[]
  trusted?: boolean
  engine?: Engine
}

/** One access token and its refresh token: they are one row, and are revoked together. */
export type TokenPair = {
  grantId: string
  generation: number
  accessToken: string
  refreshToken: string
  clientId: string
  user: User
  scopes: string[]
  /** Seconds since 1970. */
  createdAt: number
  expiresInSeconds: number
  revoked: boolean
  engine: Engine
}

type AuthorizationCode = {
  code: string
  clientId: string
  user: User
  redirectUri: string
  scopes: string[]
  challenge: { value: string; method: 'plain' | 'S256' } | undefined
  expiresAtMs: number
  used: boolean
  /** What it was exchanged for. */
  issued?: TokenPair
}

const CODE_LIFETIME_IN_MS = 600_000

const withoutLoopbackPort = (uri: string) =>
  uri.replace(/^(https?:\/\/(?:127\.0\.0\.1|\[::1\])):\d+(?=[/?]|$)/, '$1')

/** Matched exactly, except for the port of a loopback address (RFC 8252, section 7.3). */
export const redirectUriMatches = (registered: string, given: string): boolean =>
  withoutLoopbackPort(registered) === withoutLoopbackPort(given)

type Wanted = Omit<TokenPair, 'accessToken' | 'refreshToken' | 'createdAt' | 'revoked'>

const newTokens = (
  { engine, user, scopes, clientId, expiresInSeconds }: Wanted,
  createdAt: number,
): Pick<TokenPair, 'accessToken' | 'refreshToken'> => {
  if (engine === 'doorkeeper') {
    const random = randomBytes(64).toString('hex')
    return { accessToken: random.slice(0, 64), refreshToken: random.slice(64) }
  }
  const claims = {
    userId: user.id,
    scopes,
    clientId,
    issuedAt: createdAt,
    expiresAt: createdAt + expiresInSeconds,
  }
  return { accessToken: newIamAccessToken(claims), refreshToken: newIamRefreshToken() }
}

const createApps = () => {
  const apps = new Map<string, OAuthApp>()
  return {
    addApp({
      clientId,
      clientSecret,
      redirectUris,
      scopes = OAUTH_SCOPES,
      trusted = false,
      engine = 'doorkeeper',
    }: NewApp) {
      if (!includesAll(OAUTH_SCOPES, scopes))
        throw new Error(`an OAuth app cannot have all of ${scopes.join(' ')}`)
      apps.set(clientId, {
        clientId,
        clientSecret,
        redirectUris: [...redirectUris],
        scopes: [...scopes],
        trusted,
        engine,
      })
    },
    removeApp(clientId: string) {
      apps.delete(clientId)
    },
    changeAppSecret(clientId: string, secret: string) {
      const app = apps.get(clientId)
      if (!app) throw new Error(`there is no OAuth app ${clientId}`)
      app.clientSecret = secret
    },
    /** GitLab moves one app after the other. What was issued before goes on as it is. */
    setEngine(clientId: string, engine: Engine) {
      const app = apps.get(clientId)
      if (!app) throw new Error(`there is no OAuth app ${clientId}`)
      app.engine = engine
    },
    findApp: (clientId: string) => apps.get(clientId),
    apps: () => apps.values(),
  }
}

const createCodes = (clock: Clock, engineOf: (clientId: string) => Engine) => {
  const codes = new Map<string, AuthorizationCode>()
  return {
    createCode(wanted: Omit<AuthorizationCode, 'code' | 'expiresAtMs' | 'used' | 'issued'>): string {
      const code = engineOf(wanted.clientId) === 'fosite' ? newIamCode() : randomBytes(32).toString('hex')
      codes.set(code, { ...wanted, code, expiresAtMs: clock.now() + CODE_LIFETIME_IN_MS, used: false })
      return code
    },
    findCode: (code: string) => codes.get(code),
    isUsable: (code: AuthorizationCode) => !code.used && clock.now() < code.expiresAtMs,
  }
}

/** The pairs, revoked ones too. */
const createPairs = (clock: Clock) => {
  const byAccessToken = new Map<string, TokenPair>()
  const byRefreshToken = new Map<string, TokenPair>()
  const byGrant = new Map<string, TokenPair[]>()
  // By user and app, only what is not revoked: consent is skipped for who holds a matching live token.
  const liveByOwner = new Map<string, Set<TokenPair>>()

  const ownerKey = (username: string, clientId: string) => `${username} ${clientId}`

  const isExpired = (pair: TokenPair): boolean =>
    clock.now() >= (pair.createdAt + pair.expiresInSeconds) * 1000

  return {
    save(wanted: Wanted): TokenPair {
      const createdAt = secondsOf(clock.now())
      const pair: TokenPair = { ...wanted, ...newTokens(wanted, createdAt), createdAt, revoked: false }
      byGrant.set(pair.grantId, [...(byGrant.get(pair.grantId) ?? []), pair])
      byAccessToken.set(pair.accessToken, pair)
      byRefreshToken.set(pair.refreshToken, pair)
      const key = ownerKey(pair.user.username, pair.clientId)
      const live = liveByOwner.get(key)
      if (live) live.add(pair)
      else liveByOwner.set(key, new Set([pair]))
      return pair
    },
    retire(pair: TokenPair) {
      pair.revoked = true
      liveByOwner.get(ownerKey(pair.user.username, pair.clientId))?.delete(pair)
    },
    chainOf: ({ grantId }: TokenPair): readonly TokenPair[] => byGrant.get(grantId) ?? [],
    isExpired,
    all: () => byAccessToken.values(),
    findByAccessToken: (token: string) => byAccessToken.get(token),
    findByRefreshToken: (token: string) => byRefreshToken.get(token),
    holdsLiveToken(user: User, clientId: string, scopes: string[]): boolean {
      for (const pair of liveByOwner.get(ownerKey(user.username, clientId)) ?? []) {
        if (!isExpired(pair) && sameScopes(pair.scopes, scopes)) return true
      }
      return false
    },
  }
}

export const createGrants = (clock: Clock, events: EventLog, accessTokenLifetimeSeconds: number) => {
  const apps = createApps()
  const { save, retire, chainOf, ...pairs } = createPairs(clock)
  const engineOf = (clientId: string): Engine => apps.findApp(clientId)?.engine ?? 'doorkeeper'

  const revoke = (pair: TokenPair, reason: string) => {
    if (pair.revoked) return
    retire(pair)
    events.record('revoked', 'oauth', pair, reason)
  }

  return {
    ...apps,
    ...createCodes(clock, engineOf),
    ...pairs,
    issue(user: User, clientId: string, scopes: string[]): TokenPair {
      const grantId = events.newGrantId()
      const engine = engineOf(clientId)
      const expiresInSeconds = accessTokenLifetimeSeconds
      const pair = save({ grantId, generation: 1, clientId, user, scopes, expiresInSeconds, engine })
      events.record('issued', 'oauth', pair)
      return pair
    },
    /** Revokes the old pair and makes the new one, with nothing in between: a second caller finds it revoked. */
    refresh(old: TokenPair, scopes: string[]): TokenPair {
      retire(old)
      const { grantId, clientId, user, expiresInSeconds, engine } = old
      const generation = old.generation + 1
      const pair = save({ grantId, generation, clientId, user, scopes, expiresInSeconds, engine })
      events.record('refreshed', 'oauth', pair)
      return pair
    },
    revoke,
    /** What the newer engine does when a refresh token or a code is presented again: it takes that for theft. */
    revokeChain(pair: TokenPair, reason: string) {
      for (const other of chainOf(pair)) revoke(other, reason)
    },
  }
}

export const verifierMatches = (
  challenge: { value: string; method: 'plain' | 'S256' },
  verifier: string,
): boolean =>
  challenge.value ===
  (challenge.method === 'plain' ? verifier : createHash('sha256').update(verifier).digest('base64url'))
