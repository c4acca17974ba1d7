import { type Static, Type } from 'typebox'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { actorOf, requireOrganization } from '../callers/principal.ts'
import { missingScopesOf } from '../gitlab/scopes.ts'
import { problemsWithBody } from '../http/problem-schema.ts'
import {
  BaseUrl,
  isoTimeOrNull,
  Name,
  NullableText,
  NullableTime,
  Organization,
  refTo,
  Token,
  TokenKind,
} from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import type { GitLabAccess } from '../instances/gitlab-access.ts'
import { checkToken, type TokenFinding } from './check-token.ts'
import { connectAccessToken, connectOAuthToken } from './connect-token.ts'
import { Connection, GitLabUser } from './connection.ts'
import { AutoRotate, showConnection } from './routes.ts'

const FAKE_TOKEN = 'glpat-FAKE-0123456789abcdef'
const FAKE_OAUTH_TOKEN = 'FAKE-oauth-access-token-0123456789'
const tags = ['Connections']

/** Why a token that somebody enters may not be connected. */
export const TOKEN_REFUSALS = [
  'token_unknown',
  'token_expired',
  'token_revoked',
  'user_blocked',
  'missing_scopes',
  'dpop_required',
  'wrong_token_kind',
  'not_a_gitlab',
  'tls_not_trusted',
  'address_not_allowed',
  'gitlab_unavailable',
] as const

const Verification = Type.Object(
  {
    valid: Type.Boolean({ description: 'GitLab knows the token, and it has what a scanner needs.' }),
    token_kind: Type.Union([TokenKind, Type.Null()]),
    user: Type.Union([refTo(GitLabUser), Type.Null()]),
    scopes: Type.Array(Type.String()),
    missing_scopes: Type.Array(Type.String()),
    expires_at: NullableTime('When the token ends; null = never, or unknown'),
    reason: NullableText('Why it is not valid: a code of the problem catalogue.'),
    detail: NullableText('The same as a sentence that helps.'),
  },
  { $id: 'TokenVerification', description: 'What GitLab says of a token.' },
)

const toVerification = (finding: TokenFinding): Static<typeof Verification> => {
  const { facts } = finding
  const problem = finding.accepted ? undefined : finding.problem
  return {
    valid: finding.accepted,
    token_kind: facts?.kind ?? null,
    user: facts ? { id: Number(facts.user.id), username: facts.user.username, name: facts.user.name } : null,
    scopes: facts?.scopes ?? [],
    missing_scopes: problem ? missingScopesOf(problem) : [],
    expires_at: isoTimeOrNull(facts?.expiresAt ?? null),
    reason: problem?.code ?? null,
    detail: problem?.message ?? null,
  }
}

const verify = {
  operationId: 'verifyToken',
  tags,
  summary: 'Verify a token',
  description: 'Asks GitLab what a token is and whether a scanner can use it. Stores nothing.',
  body: Type.Object(
    { base_url: Type.Optional(BaseUrl), token: Token('Any kind of GitLab token.', FAKE_TOKEN) },
    { additionalProperties: false, examples: [{ token: FAKE_TOKEN }] },
  ),
  response: { 200: refTo(Verification), ...problemsWithBody() },
}

const accessToken = {
  operationId: 'connectPersonalAccessToken',
  tags,
  summary: 'Connect by a personal, group or project access token',
  description:
    'GitLab verifies the token before it is stored. 201 for a new connection. 200 when the same account was connected already: its token is replaced.',
  body: Type.Object(
    {
      organization: Organization,
      name: Type.Optional(Name),
      base_url: Type.Optional(BaseUrl),
      token: Token('A personal, group or project access token.', FAKE_TOKEN),
      group: Type.Optional(
        Type.String({
          maxLength: 1000,
          description: 'Limits the connection to a group (or project); the token must reach it.',
          examples: ['acme/platform'],
        }),
      ),
      auto_rotate: Type.Optional(AutoRotate),
    },
    { additionalProperties: false, examples: [{ organization: 'acme', token: FAKE_TOKEN }] },
  ),
  response: {
    200: refTo(Connection),
    201: refTo(Connection),
    ...problemsWithBody('not_found', 'group_out_of_reach', ...TOKEN_REFUSALS),
  },
}

const oauthToken = {
  operationId: 'connectOAuthToken',
  tags,
  summary: 'Connect by an OAuth access token obtained elsewhere',
  description:
    'With refresh_token and oauth_app (the app to which GitLab issued it) the service keeps it alive. Without them `refreshable` is false, and the token lives until its end.',
  body: Type.Object(
    {
      organization: Organization,
      name: Type.Optional(Name),
      base_url: Type.Optional(BaseUrl),
      access_token: Token('An OAuth 2.0 access token.', FAKE_OAUTH_TOKEN),
      refresh_token: Type.Optional(Token('Its refresh token.', 'FAKE-oauth-refresh-token-0123456789')),
      oauth_app: Type.Optional(Type.String({ maxLength: 64, description: 'Slug of the OAuth app.' })),
    },
    { additionalProperties: false, examples: [{ organization: 'acme', access_token: FAKE_OAUTH_TOKEN }] },
  ),
  response: {
    200: refTo(Connection),
    201: refTo(Connection),
    ...problemsWithBody('not_found', ...TOKEN_REFUSALS),
  },
}

type Deps = GitLabAccess & { authenticator: Authenticator }

export const registerConnectRoutes = (app: App, deps: Deps): void => {
  const onRequest = deps.authenticator.requireRole('manager')
  app.addSchema(Verification)

  app.post('/v1/tokens/verify', { onRequest, schema: verify }, async (request, reply) => {
    const { base_url, token } = request.body
    reply.header('cache-control', 'no-store')
    return toVerification(await checkToken(deps, { baseUrl: base_url, token }))
  })

  app.post(
    '/v1/connections/personal-access-token',
    { onRequest, schema: accessToken },
    async (request, reply) => {
      const { organization, name, base_url, token, group, auto_rotate } = request.body
      const principal = principalOf(request)
      requireOrganization(principal, organization)
      const pasted = { organization, name, baseUrl: base_url, token, group, autoRotate: auto_rotate }
      const { id, created } = await connectAccessToken(deps, pasted, actorOf(principal, request))
      return reply.code(created ? 201 : 200).send(await showConnection(deps, request, id))
    },
  )

  app.post('/v1/connections/oauth-token', { onRequest, schema: oauthToken }, async (request, reply) => {
    const { organization, name, base_url, access_token, refresh_token, oauth_app } = request.body
    const principal = principalOf(request)
    requireOrganization(principal, organization)
    const pasted = {
      organization,
      name,
      baseUrl: base_url,
      accessToken: access_token,
      refreshToken: refresh_token,
      oauthApp: oauth_app,
    }
    const { id, created } = await connectOAuthToken(deps, pasted, actorOf(principal, request))
    return reply.code(created ? 201 : 200).send(await showConnection(deps, request, id))
  })
}
