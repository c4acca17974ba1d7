import type { FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { actorOf, organizationsOf, requireOrganization } from '../callers/principal.ts'
import type { Problem } from '../errors/problem.ts'
import { isFineGrained } from '../gitlab/granular.ts'
import { REFUSAL_CODES } from '../gitlab/refusal.ts'
import { missingScopesOf } from '../gitlab/scopes.ts'
import { LOOKS_LIKE, type LooksLike } from '../gitlab/token-kinds.ts'
import { NullableProblemCode, problemsWithBody } from '../http/problem-schema.ts'
import {
  BaseUrl,
  isoTimeOrNull,
  Labels,
  Name,
  NullableCode,
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
import { Connected, GitLabUser } from './connection.ts'
import { AutoRotate, showConnection } from './routes.ts'
import type { SavedConnection } from './save-connection.ts'

const FAKE_TOKEN = 'glpat-FAKE-0123456789abcdef'
const FAKE_OAUTH_TOKEN = 'FAKE-oauth-access-token-0123456789'
const tags = ['Connections']

/** Why a token that somebody enters may not be connected. */
export const TOKEN_REFUSALS = [
  ...REFUSAL_CODES,
  'clone_right_unproven',
  'wrong_token_kind',
  'host_not_found',
] as const

const Verification = Type.Object(
  {
    valid: Type.Boolean({ description: 'Whether GitLab knows the token, and it has what a scanner needs.' }),
    token_kind: Type.Union([TokenKind, Type.Null()], { description: 'null: GitLab did not say.' }),
    user: Type.Union([refTo(GitLabUser), Type.Null()], { description: 'null: GitLab did not say.' }),
    scopes: Type.Array(Type.String(), { description: 'Scopes of the token at GitLab.' }),
    missing_scopes: Type.Array(Type.String(), {
      description: 'Scopes that a scanner needs and the token lacks.',
    }),
    fine_grained: Type.Boolean({
      description:
        'Whether it is a fine-grained token: its one scope is `granular`, and its permissions say what it may do.',
    }),
    account_kind: NullableCode(
      ['person', 'service_account', 'bot'],
      'Whose the token is: a person, a service account, or the bot of a group or project. null: GitLab did not say.',
    ),
    looks_like: NullableCode(
      LOOKS_LIKE,
      'What a token that GitLab does not know looks like by its prefix, such as a deploy token. null: it is known, or looks like nothing else.',
    ),
    expires_at: NullableTime('When the token ends; null: never, or unknown'),
    base_url: Type.String({ description: 'Base URL of the instance to which the address led.' }),
    group: NullableText(
      'Group or project that `base_url` names: send it as `group` to limit a connection to it. null: none.',
    ),
    did_you_mean: NullableText(
      'Base URL of the registered instance that may be meant, where the address led to none. null: none is near.',
    ),
    reason: NullableProblemCode('Why the token is not valid. null: it is valid.'),
    detail: NullableText('The reason as a sentence for people. null: the token is valid.'),
  },
  { $id: 'TokenVerification', description: 'What GitLab says of a token.' },
)

const looksLikeOf = ({ extras }: Problem): LooksLike | null =>
  LOOKS_LIKE.find((name) => name === extras.members?.looks_like) ?? null

const meantOf = (problem: Problem | undefined): string | null => {
  const meant = problem?.extras.members?.did_you_mean
  return typeof meant === 'string' ? meant : null
}

const toVerification = (finding: TokenFinding): Static<typeof Verification> => {
  const { facts } = finding
  const problem = finding.accepted ? undefined : finding.problem
  return {
    valid: finding.accepted,
    token_kind: facts?.kind ?? null,
    user: facts ? { id: Number(facts.user.id), username: facts.user.username, name: facts.user.name } : null,
    scopes: facts?.scopes ?? [],
    missing_scopes: problem ? missingScopesOf(problem) : [],
    fine_grained: isFineGrained(facts?.scopes ?? []),
    account_kind: facts?.accountKind ?? null,
    looks_like: problem ? looksLikeOf(problem) : null,
    expires_at: isoTimeOrNull(facts?.expiresAt ?? null),
    base_url: finding.addressed.instance.base_url,
    group: finding.addressed.group ?? null,
    did_you_mean: meantOf(problem),
    reason: problem?.code ?? null,
    detail: problem?.message ?? null,
  }
}

const verify = {
  operationId: 'verifyToken',
  tags,
  summary: 'Verify a token',
  description: 'Asks GitLab what a token is and whether a scanner can use it. The service stores nothing.',
  body: Type.Object(
    {
      base_url: Type.Optional(BaseUrl),
      token: Token('Any kind of GitLab token.', FAKE_TOKEN),
      group: Type.Optional(
        Type.String({
          maxLength: 1000,
          description:
            'Group or project that the token must reach. A fine-grained token proves there that it may clone, where GitLab does not tell what it may do.',
          examples: ['acme/platform'],
        }),
      ),
    },
    { additionalProperties: false, examples: [{ token: FAKE_TOKEN }] },
  ),
  response: { 200: refTo(Verification), ...problemsWithBody('instance_not_registered') },
}

const accessToken = {
  operationId: 'connectPersonalAccessToken',
  tags,
  summary: 'Connect by a personal, group or project access token',
  description:
    'The service asks GitLab about the token before it stores it. 201: a new connection. 200: this account was connected for the same group or project already, and the new token replaces the old one (`replaced`). `separate` makes another connection all the same.',
  body: Type.Object(
    {
      organization: Organization,
      name: Type.Optional(Name),
      base_url: Type.Optional(BaseUrl),
      token: Token('A personal, group or project access token.', FAKE_TOKEN),
      group: Type.Optional(
        Type.String({
          maxLength: 1000,
          description:
            'Limits the connection to a group or project: its path, or its URL on the same instance. The token must reach it. Group and project access tokens cover their own group or project without it; `group_required` asks for it where GitLab does not tell what a token reaches.',
          examples: ['acme/platform'],
        }),
      ),
      auto_rotate: Type.Optional(AutoRotate),
      labels: Type.Optional(Labels),
      separate: Type.Optional(
        Type.Boolean({
          default: false,
          description:
            'true: another connection, also where this account is connected for the same group or project already.',
        }),
      ),
    },
    { additionalProperties: false, examples: [{ organization: 'acme', token: FAKE_TOKEN }] },
  ),
  response: {
    200: refTo(Connected),
    201: refTo(Connected),
    ...problemsWithBody(
      'not_found',
      'group_out_of_reach',
      'group_required',
      'instance_not_registered',
      ...TOKEN_REFUSALS,
    ),
  },
}

const oauthToken = {
  operationId: 'connectOAuthToken',
  tags,
  summary: 'Connect by an OAuth access token obtained elsewhere',
  description:
    'With refresh_token and oauth_app (the app to which GitLab issued the token) the service keeps the token alive. Without them `refreshable` is false, and the token lives until it expires.',
  body: Type.Object(
    {
      organization: Organization,
      name: Type.Optional(Name),
      base_url: Type.Optional(BaseUrl),
      access_token: Token('An OAuth 2.0 access token.', FAKE_OAUTH_TOKEN),
      refresh_token: Type.Optional(
        Token('The refresh token that GitLab issued with it.', 'FAKE-oauth-refresh-token-0123456789'),
      ),
      oauth_app: Type.Optional(
        Type.String({
          maxLength: 64,
          description: 'Slug of the OAuth app to which GitLab issued the token.',
        }),
      ),
    },
    { additionalProperties: false, examples: [{ organization: 'acme', access_token: FAKE_OAUTH_TOKEN }] },
  ),
  response: {
    200: refTo(Connected),
    201: refTo(Connected),
    ...problemsWithBody('not_found', 'instance_not_registered', ...TOKEN_REFUSALS),
  },
}

type Deps = GitLabAccess & { authenticator: Authenticator }

const showSaved = async (deps: Deps, request: FastifyRequest, { id, replaced }: SavedConnection) => ({
  ...(await showConnection(deps, request, id)),
  replaced,
})

export const registerConnectRoutes = (app: App, deps: Deps): void => {
  const onRequest = deps.authenticator.requireRole('manager')
  app.addSchema(Verification)
  app.addSchema(Connected)

  app.post('/v1/tokens/verify', { onRequest, schema: verify }, async (request, reply) => {
    const { base_url, token, group } = request.body
    reply.header('cache-control', 'no-store')
    const organizations = organizationsOf(principalOf(request))
    return toVerification(await checkToken(deps, { baseUrl: base_url, organizations, token, group }))
  })

  app.post(
    '/v1/connections/personal-access-token',
    { onRequest, schema: accessToken },
    async (request, reply) => {
      const { organization, name, base_url, token, group, auto_rotate, labels, separate } = request.body
      const principal = principalOf(request)
      requireOrganization(principal, organization)
      const pasted = {
        organization,
        name,
        baseUrl: base_url,
        token,
        group,
        labels,
        separate,
        autoRotate: auto_rotate,
      }
      const saved = await connectAccessToken(deps, pasted, actorOf(principal, request))
      return reply.code(saved.created ? 201 : 200).send(await showSaved(deps, request, saved))
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
    const saved = await connectOAuthToken(deps, pasted, actorOf(principal, request))
    return reply.code(saved.created ? 201 : 200).send(await showSaved(deps, request, saved))
  })
}
