import { Type } from 'typebox'
import { type Authenticator, principalOf } from '../access-keys/authenticate.ts'
import { mayActIn, organizationsOf, requireOrganization } from '../access-keys/principal.ts'
import { notFound } from '../errors/problem.ts'
import { canonicalBaseUrl } from '../gitlab/base-url.ts'
import { missingScopes } from '../gitlab/scopes.ts'
import { pageOf, pageQuery, readCursor, toPage } from '../http/page.ts'
import { problems, problemsWithBody } from '../http/problem-schema.ts'
import {
  BaseUrl,
  IdParams,
  isoTimeOrNull,
  Name,
  NullableText,
  NullableTime,
  Organization,
  Token,
} from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import { type ConnectDeps, callerOf, connectAccessToken, connectOAuthToken } from './connect-token.ts'
import { Connection, Status, TokenKind, toConnection, User } from './connection.ts'
import { findConnection, listConnections } from './queries.ts'
import type { SavedConnection } from './save-connection.ts'
import { REQUIRED_SCOPES, verifyToken } from './verify-token.ts'

const FAKE_TOKEN = 'glpat-FAKE-0123456789abcdef'
const tags = ['Connections']

const REFUSALS = [
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

type Deps = ConnectDeps & { authenticator: Authenticator }

export const registerConnectionRoutes = (app: App, deps: Deps): void => {
  const { db, clock, authenticator } = deps
  const onRequest = authenticator.requireRole('manager')
  app.addSchema(Connection)
  const ConnectionRef = Type.Unsafe<Record<string, unknown>>({ $ref: 'Connection#' })

  const show = async (id: string) => {
    const row = await findConnection(db, id)
    if (!row) throw notFound('connection')
    return toConnection(row, new Date(clock()))
  }

  const answerSaved = async ({ id, created }: SavedConnection) =>
    ({ status: created ? 201 : 200, body: await show(id) }) as const

  app.post(
    '/v1/tokens/verify',
    {
      onRequest,
      schema: {
        operationId: 'verifyToken',
        tags,
        summary: 'Verify a token',
        description: 'Asks GitLab what a token is and whether a scanner can use it. Stores nothing.',
        body: Type.Object(
          { base_url: Type.Optional(BaseUrl), token: Token('Any kind of GitLab token.', FAKE_TOKEN) },
          { additionalProperties: false, examples: [{ token: FAKE_TOKEN }] },
        ),
        response: {
          200: Type.Object({
            valid: Type.Boolean({ description: 'GitLab knows the token, and it has what a scanner needs.' }),
            token_kind: Type.Union([TokenKind, Type.Null()]),
            user: Type.Union([User, Type.Null()]),
            scopes: Type.Array(Type.String()),
            missing_scopes: Type.Array(Type.String()),
            expires_at: NullableTime('When it ends; null = never, or unknown'),
            reason: NullableText('Why it is not valid: a code of the problem catalogue.'),
            detail: NullableText('The same as a sentence that helps.'),
          }),
          ...problemsWithBody(),
        },
      },
    },
    async (request, reply) => {
      const { base_url, token } = request.body
      const { inspection } = await verifyToken(deps, base_url, token)
      reply.header('cache-control', 'no-store')
      if (!inspection.valid) {
        const { code, detail } = inspection.refusal
        return {
          valid: false,
          token_kind: null,
          user: null,
          scopes: [],
          missing_scopes: [],
          expires_at: null,
          reason: code,
          detail,
        }
      }
      const { kind, user, scopes, expiresAt } = inspection.facts
      const missing = missingScopes(scopes, REQUIRED_SCOPES)
      return {
        valid: missing.length === 0,
        token_kind: kind,
        user: { id: Number(user.id), username: user.username, name: user.name },
        scopes,
        missing_scopes: missing,
        expires_at: isoTimeOrNull(expiresAt),
        reason: missing.length === 0 ? null : 'missing_scopes',
        detail: missing.length === 0 ? null : `The token lacks ${missing.join(', ')}.`,
      }
    },
  )

  app.post(
    '/v1/connections/personal-access-token',
    {
      onRequest,
      schema: {
        operationId: 'connectPersonalAccessToken',
        tags,
        summary: 'Connect by a personal, group or project access token',
        description:
          'GitLab verifies the token before it is stored. 201 for a new connection; 200 when the same account was connected already: its token is replaced.',
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
            auto_rotate: Type.Optional(
              Type.Boolean({
                description: 'Rotate the token before it ends; takes the scope api or self_rotate.',
              }),
            ),
          },
          { additionalProperties: false, examples: [{ organization: 'acme', token: FAKE_TOKEN }] },
        ),
        response: {
          200: ConnectionRef,
          201: ConnectionRef,
          ...problemsWithBody('not_found', 'group_out_of_reach', ...REFUSALS),
        },
      },
    },
    async (request, reply) => {
      const { organization, name, base_url, token, group, auto_rotate } = request.body
      const principal = principalOf(request)
      requireOrganization(principal, organization)
      const pasted = { organization, name, baseUrl: base_url, token, group, autoRotate: auto_rotate }
      const { status, body } = await answerSaved(
        await connectAccessToken(deps, pasted, callerOf(principal, request.id)),
      )
      return reply.code(status).send(body)
    },
  )

  app.post(
    '/v1/connections/oauth-token',
    {
      onRequest,
      schema: {
        operationId: 'connectOAuthToken',
        tags,
        summary: 'Connect by an OAuth access token obtained elsewhere',
        description:
          'With refresh_token and oauth_app (the app it was issued to) the service keeps it alive; without, `refreshable` is false and it lives until its end.',
        body: Type.Object(
          {
            organization: Organization,
            name: Type.Optional(Name),
            base_url: Type.Optional(BaseUrl),
            access_token: Token('An OAuth 2.0 access token.', 'FAKE-oauth-access-token-0123456789'),
            refresh_token: Type.Optional(Token('Its refresh token.', 'FAKE-oauth-refresh-token-0123456789')),
            oauth_app: Type.Optional(Type.String({ maxLength: 64, description: 'Slug of the OAuth app.' })),
          },
          {
            additionalProperties: false,
            examples: [{ organization: 'acme', access_token: 'FAKE-oauth-access-token-0123456789' }],
          },
        ),
        response: { 200: ConnectionRef, 201: ConnectionRef, ...problemsWithBody('not_found', ...REFUSALS) },
      },
    },
    async (request, reply) => {
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
      const { status, body } = await answerSaved(
        await connectOAuthToken(deps, pasted, callerOf(principal, request.id)),
      )
      return reply.code(status).send(body)
    },
  )

  app.get(
    '/v1/connections',
    {
      onRequest,
      schema: {
        operationId: 'listConnections',
        tags,
        summary: 'List connections',
        querystring: Type.Object(
          {
            organization: Type.Optional(Organization),
            status: Type.Optional(Status),
            base_url: Type.Optional(BaseUrl),
            ...pageQuery,
          },
          { additionalProperties: false },
        ),
        response: { 200: pageOf(ConnectionRef), ...problems('not_found') },
      },
    },
    async (request) => {
      const { organization, status, base_url, limit = 20, cursor } = request.query
      const principal = principalOf(request)
      if (organization !== undefined) requireOrganization(principal, organization)
      const now = new Date(clock())
      const rows = await listConnections(db, {
        organizations: organization === undefined ? organizationsOf(principal) : [organization],
        status,
        baseUrl: base_url === undefined ? undefined : (canonicalBaseUrl(base_url) ?? base_url),
        after: readCursor(cursor),
        limit: limit + 1,
        now,
      })
      return toPage(rows, limit, (row) => toConnection(row, now))
    },
  )

  app.get(
    '/v1/connections/:id',
    {
      onRequest,
      schema: {
        operationId: 'getConnection',
        tags,
        summary: 'Read a connection',
        params: IdParams,
        response: { 200: ConnectionRef, ...problems('not_found') },
      },
    },
    async (request) => {
      const row = await findConnection(db, request.params.id)
      if (!row || !mayActIn(principalOf(request), row.organization)) throw notFound('connection')
      return toConnection(row, new Date(clock()))
    },
  )
}
