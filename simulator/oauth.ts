import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { bearerOf, decodeBasic } from './authentication.ts'
import { type Clock, secondsOf } from './clock.ts'
import { DEVICE_GRANT, describeDevice } from './device.ts'
import { type OAuthApp, type TokenPair, verifierMatches } from './grants.ts'
import type { IdTokens } from './openid.ts'
import { Refusal } from './refusal.ts'
import { includesAll, parseScopes } from './scopes.ts'
import type { World } from './world.ts'

type Parameters = Record<string, string>

const DESCRIPTIONS = {
  invalid_request:
    'The request is missing a required parameter, includes an unsupported parameter value, or is otherwise malformed.',
  invalid_client:
    'Client authentication failed due to unknown client, no client authentication included, or unsupported authentication method.',
  invalid_grant:
    'The provided authorization grant is invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued to another client.',
  invalid_scope: 'The requested scope is invalid, unknown, or malformed.',
  unsupported_grant_type: 'The authorization grant type is not supported by the authorization server.',
  authorization_pending:
    'The authorization request is still pending as the end user has not yet completed the user interaction steps.',
  slow_down:
    'The authorization request is still pending and polling should continue, but the interval must be increased.',
  expired_token: 'The device_code has expired, and the device authorization session has concluded.',
  access_denied: 'The resource owner or authorization server denied the request.',
}

/** The newer engine's words. */
const IAM_INVALID_GRANT =
  'The provided authorization grant (e.g., authorization code, resource owner credentials) or refresh token is invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued to another client.'
const IAM_INACTIVE =
  'Token is inactive because it is malformed, expired or otherwise invalid. Token validation failed.'

const NO_STORE = { 'cache-control': 'no-store, no-cache' }

export const oauthRefusal = (
  error: keyof typeof DESCRIPTIONS,
  description: string = DESCRIPTIONS[error],
): Refusal =>
  new Refusal(
    error === 'invalid_client' ? 401 : 400,
    { error, error_description: description },
    {
      ...NO_STORE,
      'www-authenticate': `Bearer realm="Doorkeeper", error="${error}", error_description="${description}"`,
    },
  )

const missing = (parameter: string) =>
  oauthRefusal('invalid_request', `Missing required parameter: ${parameter}.`)

const parametersOf = (request: FastifyRequest): Parameters =>
  ({ ...(request.query as object), ...(request.body as object | undefined) }) as Parameters

/** RFC 6749 section 2.3.1 has both halves form-encoded inside Basic; plain ones decode to themselves. */
const decodeForm = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** Basic or body; both at once is an error. `presented` tells "no client named" from "a wrong one". */
const readClient = (world: World, request: FastifyRequest, parameters: Parameters) => {
  const basic = decodeBasic(request.headers.authorization)
  if (basic && parameters.client_secret) throw oauthRefusal('invalid_request')
  const [clientId, secret] = basic ? basic.map(decodeForm) : [parameters.client_id, parameters.client_secret]
  const app = clientId === undefined ? undefined : world.grants.findApp(clientId)
  const authenticated: OAuthApp | undefined = app?.clientSecret === secret ? app : undefined
  return { app: authenticated, presented: clientId !== undefined && clientId !== '' }
}

type Client = ReturnType<typeof readClient>

const exchangeCode = (world: World, parameters: Parameters, client: Client): TokenPair => {
  const grant = world.grants.findCode(parameters.code ?? '')
  if (grant?.challenge && !parameters.code_verifier) throw missing('code_verifier')
  if (!parameters.redirect_uri) throw missing('redirect_uri')
  if (!client.app) throw oauthRefusal('invalid_client')
  if (!grant || grant.clientId !== client.app.clientId || !world.grants.isUsable(grant)) {
    if (grant?.issued?.engine === 'fosite') world.grants.revokeChain(grant.issued, 'reused_code')
    throw oauthRefusal('invalid_grant')
  }
  if (grant.redirectUri !== parameters.redirect_uri) throw oauthRefusal('invalid_grant')
  if (grant.challenge && !verifierMatches(grant.challenge, parameters.code_verifier ?? '')) {
    throw oauthRefusal('invalid_grant')
  }
  grant.used = true
  grant.issued = world.grants.issue(grant.user, grant.clientId, grant.scopes)
  return grant.issued
}

const refresh = (world: World, parameters: Parameters, client: Client): TokenPair => {
  if (!parameters.refresh_token) throw missing('refresh_token')
  const old = world.grants.findByRefreshToken(parameters.refresh_token)
  const refuse = (error: 'invalid_grant' | 'invalid_client' | 'invalid_scope', reason: string) => {
    if (old) world.recordEvent('refresh_refused', 'oauth', old, reason)
    return oauthRefusal(error)
  }
  if (!old) throw oauthRefusal('invalid_grant')
  if (old.revoked) {
    world.recordEvent('replay_of_spent_refresh_token', 'oauth', old)
    const refusal = refuse('invalid_grant', 'revoked')
    if (old.engine === 'doorkeeper') throw refusal
    world.grants.revokeChain(old, 'reused_refresh_token')
    throw world.iam.reuse === 'invalid_grant'
      ? oauthRefusal('invalid_grant', `${IAM_INVALID_GRANT} ${IAM_INACTIVE}`)
      : new Refusal(401, { error: 'token_inactive', error_description: IAM_INACTIVE }, NO_STORE)
  }
  if (client.presented && !client.app) throw refuse('invalid_client', 'wrong_client_secret')
  if (client.app?.clientId !== old.clientId) throw refuse('invalid_grant', 'other_client')
  const scopes = parameters.scope ? parseScopes(parameters.scope) : old.scopes
  if (!includesAll(old.scopes, scopes)) throw refuse('invalid_scope', 'wider_scope')
  return world.grants.refresh(old, scopes)
}

/** RFC 8628, section 3.4. */
const exchangeDeviceCode = (world: World, parameters: Parameters, client: Client): TokenPair => {
  if (!world.devices.isKnown()) throw oauthRefusal('unsupported_grant_type')
  if (!parameters.device_code) throw missing('device_code')
  if (!client.app) throw oauthRefusal('invalid_client')
  const poll = world.devices.poll(parameters.device_code, client.app)
  if (poll.kind === 'refuse') throw oauthRefusal(poll.error)
  return world.grants.issue(poll.user, client.app.clientId, poll.scopes)
}

const tokenAnswer = (pair: TokenPair) => ({
  access_token: pair.accessToken,
  token_type: pair.engine === 'fosite' ? 'bearer' : 'Bearer',
  expires_in: pair.expiresInSeconds,
  refresh_token: pair.refreshToken,
  scope: pair.scopes.join(' '),
  ...(pair.engine === 'fosite' ? {} : { created_at: pair.createdAt }),
})

const tokenInfo = (world: World, clock: Clock, request: FastifyRequest) => {
  const pair = world.grants.findByAccessToken(bearerOf(request) ?? '')
  // Doorkeeper does not know what the newer engine issued.
  if (!pair || pair.engine === 'fosite' || pair.revoked || world.grants.isExpired(pair)) {
    const description = 'The access token is invalid'
    const challenge = `Bearer realm="Doorkeeper", error="invalid_token", error_description="${description}"`
    const body = { error: 'invalid_token', error_description: description, state: 'unauthorized' }
    throw new Refusal(401, body, { 'www-authenticate': challenge })
  }
  const left = pair.createdAt + pair.expiresInSeconds - secondsOf(clock.now())
  return {
    resource_owner_id: pair.user.id,
    scope: pair.scopes,
    expires_in: left,
    application: { uid: pair.clientId },
    created_at: pair.createdAt,
    scopes: pair.scopes,
    expires_in_seconds: left,
  }
}

const revoke = (world: World, request: FastifyRequest): object => {
  const parameters = parametersOf(request)
  const token = parameters.token ?? ''
  const pair = world.grants.findByAccessToken(token) ?? world.grants.findByRefreshToken(token)
  if (!pair) return {}
  if (readClient(world, request, parameters).app?.clientId !== pair.clientId) {
    const description = 'You are not authorized to revoke this token'
    throw new Refusal(403, { error: 'unauthorized_client', error_description: description })
  }
  world.grants.revoke(pair, 'revoked_by_client')
  return {}
}

export const oauthRoutes = (
  app: FastifyInstance,
  world: World,
  clock: Clock,
  idTokens: IdTokens,
  baseUrl: () => string,
): void => {
  app.post('/oauth/token', async (request: FastifyRequest, reply: FastifyReply) => {
    const parameters = parametersOf(request)
    const grantType = parameters.grant_type
    if (!grantType) throw missing('grant_type')
    const grant = {
      authorization_code: exchangeCode,
      refresh_token: refresh,
      [DEVICE_GRANT]: exchangeDeviceCode,
    }[grantType]
    if (!grant) throw oauthRefusal('unsupported_grant_type')
    const pair = grant(world, parameters, readClient(world, request, parameters))
    request.entry.issued = { grantId: pair.grantId, generation: pair.generation }
    reply.headers(NO_STORE)
    if (!pair.scopes.includes('openid')) return tokenAnswer(pair)
    return { ...tokenAnswer(pair), id_token: await idTokens.sign(pair) }
  })
  app.post('/oauth/authorize_device', async (request, reply) => {
    if (!world.devices.isKnown()) throw new Refusal(404, { error: '404 Not Found' })
    const { client_id = '', scope } = parametersOf(request)
    const client = world.grants.findApp(client_id)
    if (!client) throw oauthRefusal('invalid_client')
    const codes = describeDevice(world.devices, client, scope, baseUrl())
    if (!codes) throw oauthRefusal('invalid_scope')
    return reply.headers(NO_STORE).send(codes)
  })
  app.get('/oauth/token/info', async (request) => tokenInfo(world, clock, request))
  app.post('/oauth/revoke', async (request) => revoke(world, request))
}
