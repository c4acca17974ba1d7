import type { AccessToken, createAccessTokenStore } from './access-token-store.ts'
import type { TokenKind } from './events.ts'
import type { createGrants, TokenPair } from './grants.ts'

export type TokenState = 'active' | 'expired' | 'revoked' | 'unknown'

type TokenDetails = {
  tokenKind: TokenKind
  /** Of an OAuth pair: which of the two was asked about. */
  half?: 'access' | 'refresh'
  grantId: string
  generation: number
  username: string
  scopes: string[]
  state: TokenState
}

/** What this GitLab knows of a token, of whatever kind. */
export const createTokenDetails = (
  grants: ReturnType<typeof createGrants>,
  accessTokens: ReturnType<typeof createAccessTokenStore>,
) => {
  const stateOf = (token: { revoked: boolean }, expired: boolean): TokenState =>
    token.revoked ? 'revoked' : expired ? 'expired' : 'active'

  const describePair = (pair: TokenPair, half: 'access' | 'refresh'): TokenDetails => {
    const { grantId, generation, scopes } = pair
    // A refresh token has no expiry of its own.
    const state = stateOf(pair, half === 'access' && grants.isExpired(pair))
    return { tokenKind: 'oauth', half, grantId, generation, username: pair.user.username, scopes, state }
  }

  const describeAccessToken = (token: AccessToken): TokenDetails => {
    const { kind, grantId, generation, scopes } = token
    const state = stateOf(token, accessTokens.isExpired(token))
    return { tokenKind: kind, grantId, generation, username: token.user.username, scopes, state }
  }

  return (token: string): TokenDetails | undefined => {
    const accessToken = accessTokens.find(token)
    if (accessToken) return describeAccessToken(accessToken)
    const pair = grants.findByAccessToken(token)
    if (pair) return describePair(pair, 'access')
    const refreshable = grants.findByRefreshToken(token)
    return refreshable && describePair(refreshable, 'refresh')
  }
}
