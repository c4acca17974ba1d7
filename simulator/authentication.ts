import type { FastifyRequest } from 'fastify'
import type { AccessToken } from './access-token-store.ts'
import type { TokenPair } from './grants.ts'
import type { Boundary } from './granular.ts'
import type { User } from './people.ts'
import { apiRefusal, Refusal } from './refusal.ts'
import { includesAny } from './scopes.ts'
import { refusedBecause } from './user-states.ts'
import type { World } from './world.ts'

export type Caller = { user: User; scopes: readonly string[] } & (
  | { by: 'oauth'; pair: TokenPair }
  | { by: 'access-token'; accessToken: AccessToken }
)

const REALM = 'Bearer realm="Protected by OAuth 2.0"'

const invalidToken = (description: string): Refusal =>
  new Refusal(
    401,
    { error: 'invalid_token', error_description: description },
    { 'www-authenticate': `${REALM}, error="invalid_token", error_description="${description}"` },
  )

const expired = () => invalidToken('Token is expired. You can either do re-authorization or token refresh.')
const revoked = () => invalidToken('Token was revoked. You have to re-authorize from the user.')

const insufficientScope = (accepted: readonly string[]): Refusal =>
  new Refusal(403, {
    error: 'insufficient_scope',
    error_description: 'The request requires higher privileges than provided by the access token.',
    scope: accepted.join(' '),
  })

export const bearerOf = (request: FastifyRequest): string | undefined =>
  /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1]

export const decodeBasic = (
  authorization: string | undefined,
): [name: string, secret: string] | undefined => {
  const encoded = /^Basic +(\S+)$/i.exec(authorization ?? '')?.[1]
  if (encoded === undefined) return undefined
  const text = Buffer.from(encoded, 'base64').toString()
  const colon = text.indexOf(':')
  return colon < 0 ? [text, ''] : [text.slice(0, colon), text.slice(colon + 1)]
}

/** An OAuth token is taken only as Bearer; the others also as PRIVATE-TOKEN. */
const findCaller = (world: World, request: FastifyRequest): Caller | undefined => {
  const bearer = bearerOf(request)
  const pair = bearer === undefined ? undefined : world.grants.findByAccessToken(bearer)
  if (pair) return { by: 'oauth', pair, user: pair.user, scopes: pair.scopes }
  const privateToken = request.headers['private-token'] ?? bearer
  const accessToken = typeof privateToken === 'string' ? world.accessTokens.find(privateToken) : undefined
  if (accessToken)
    return { by: 'access-token', accessToken, user: accessToken.user, scopes: accessToken.scopes }
  return undefined
}

/** @throws {Refusal} 403 when a fine-grained token, or a group that takes no others, does not let it be done */
export const requirePermission = (
  world: World,
  caller: Caller,
  permission: string,
  boundary: Boundary,
): Caller => {
  world.granular.require(caller.by === 'access-token' ? caller.accessToken : undefined, permission, boundary)
  return caller
}

/** Whether a token of the newer engine was revoked, GitLab asks that service: while it is away, every one counts as revoked. */
export const isPairRevoked = ({ iam }: World, { engine, revoked }: TokenPair): boolean =>
  engine === 'fosite' ? iam.isAway || (revoked && iam.revokesAccessTokens) : revoked

/** Who calls, or the refusal that GitLab gives; without `accepted` any scope will do. Checked in GitLab's order. */
export const authenticate = (
  world: World,
  request: FastifyRequest,
  accepted?: readonly string[],
  onRevoked?: (token: AccessToken) => void,
): Caller => {
  const caller = findCaller(world, request)
  if (!caller) throw apiRefusal(401, '401 Unauthorized')
  world.throttles.count(caller.user.username)
  if (
    caller.by === 'oauth'
      ? world.grants.isExpired(caller.pair)
      : world.accessTokens.isExpired(caller.accessToken)
  ) {
    throw expired()
  }
  if (caller.by === 'oauth' ? isPairRevoked(world, caller.pair) : caller.accessToken.revoked) {
    if (caller.by === 'access-token') onRevoked?.(caller.accessToken)
    throw revoked()
  }
  const isGranular = caller.by === 'access-token' && caller.accessToken.granular !== undefined
  // What a fine-grained token may do depends on the place: world.granular is asked where the place is known.
  if (accepted && !isGranular && !includesAny(caller.scopes, accepted)) throw insufficientScope(accepted)
  const because = refusedBecause(caller.user)
  if (because !== undefined) throw apiRefusal(403, `403 Forbidden - ${because}`)
  if (caller.by === 'access-token') world.accessTokens.touch(caller.accessToken)
  return caller
}
