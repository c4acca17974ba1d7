import type { FastifyInstance } from 'fastify'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { type Clock, secondsOf } from './clock.ts'
import type { TokenPair } from './grants.ts'
import { OAUTH_SCOPES } from './scopes.ts'

const ID_TOKEN_LIFETIME_SECONDS = 120
const KEY_ID = 'simulator'

export type IdTokens = { sign(pair: TokenPair): Promise<string>; keys(): Promise<{ keys: object[] }> }

export const createIdTokens = (clock: Clock, issuer: () => string): IdTokens => {
  // An RSA key takes a moment to make, and few callers ask for openid.
  let pairOfKeys: ReturnType<typeof generateKeyPair> | undefined
  const keyPair = () => {
    pairOfKeys ??= generateKeyPair('RS256')
    return pairOfKeys
  }
  return {
    async sign({ clientId, user }) {
      const now = secondsOf(clock.now())
      return new SignJWT({ name: user.name, nickname: user.username, preferred_username: user.username })
        .setProtectedHeader({ alg: 'RS256', kid: KEY_ID, typ: 'JWT' })
        .setIssuer(issuer())
        .setSubject(String(user.id))
        .setAudience(clientId)
        .setIssuedAt(now)
        .setExpirationTime(now + ID_TOKEN_LIFETIME_SECONDS)
        .sign((await keyPair()).privateKey)
    },
    async keys() {
      const { publicKey } = await keyPair()
      return { keys: [{ ...(await exportJWK(publicKey)), kid: KEY_ID, use: 'sig', alg: 'RS256' }] }
    },
  }
}

export const openidRoutes = (app: FastifyInstance, idTokens: IdTokens, baseUrl: () => string): void => {
  const metadata = () => {
    const base = baseUrl()
    return {
      issuer: base,
      authorization_endpoint: `${base}/oauth/authorize`,
      token_endpoint: `${base}/oauth/token`,
      revocation_endpoint: `${base}/oauth/revoke`,
      jwks_uri: `${base}/oauth/discovery/keys`,
      scopes_supported: OAUTH_SCOPES,
      response_types_supported: ['code'],
      response_modes_supported: ['query', 'fragment', 'form_post'],
      grant_types_supported: ['authorization_code', 'refresh_token'],
      token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['RS256'],
      claim_types_supported: ['normal'],
      claims_supported: ['iss', 'sub', 'aud', 'exp', 'iat', 'name', 'nickname', 'preferred_username'],
      code_challenge_methods_supported: ['plain', 'S256'],
    }
  }
  app.get('/.well-known/openid-configuration', async () => metadata())
  app.get('/.well-known/oauth-authorization-server', async () => metadata())
  app.get('/oauth/discovery/keys', async () => idTokens.keys())
}
