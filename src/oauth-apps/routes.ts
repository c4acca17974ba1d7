import { Type } from 'typebox'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { actorOf, requireEveryOrganization } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { notFound } from '../errors/problem.ts'
import { pageQuery, readCursor, toPage } from '../http/page.ts'
import { problems, problemsWithBody } from '../http/problem-schema.ts'
import { IdParams, refTo } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import type { Vault } from '../vault/vault.ts'
import { changeOAuthApp } from './change-oauth-app.ts'
import { createOAuthApp } from './create-oauth-app.ts'
import { deleteOAuthApp } from './delete-oauth-app.ts'
import { OAuthApp, OAuthAppPage, toOAuthApp } from './oauth-app.ts'
import { findOAuthApp, listOAuthApps } from './queries.ts'

const DEFAULT_SCOPES = ['read_user', 'read_api', 'read_repository']
const tags = ['OAuth apps']

const Slug = Type.String({
  pattern: '^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$',
  description: 'Its name in URLs; it cannot change, since the callback URL holds it.',
  examples: ['gitlab-com'],
})
const ClientId = Type.String({ minLength: 1, maxLength: 500, description: '"Application ID" at GitLab.' })
const ClientSecret = Type.String({
  minLength: 1,
  maxLength: 500,
  description: '"Secret" at GitLab. Stored encrypted, never shown again.',
})
const Scopes = Type.Array(Type.String({ pattern: '^[a-z_]{2,64}$' }), {
  minItems: 1,
  maxItems: 50,
  uniqueItems: true,
  description: 'What people are asked to grant: those that the application has at GitLab, or fewer.',
})

const list = {
  operationId: 'listOAuthApps',
  tags,
  summary: 'List OAuth apps',
  description: 'Of all instances. No secret is in the answer.',
  querystring: Type.Object(pageQuery, { additionalProperties: false }),
  response: { 200: refTo(OAuthAppPage), ...problems() },
}

const create = {
  operationId: 'createOAuthApp',
  tags,
  summary: 'Add an OAuth app',
  description:
    'The application that you registered at GitLab (confidential, with the answered callback_url as its redirect URI).',
  body: Type.Object(
    {
      slug: Slug,
      instance_id: Type.String({ format: 'uuid' }),
      client_id: ClientId,
      client_secret: ClientSecret,
      scopes: Type.Optional({ ...Scopes, default: DEFAULT_SCOPES }),
    },
    {
      additionalProperties: false,
      examples: [
        {
          slug: 'gitlab-com',
          instance_id: '01900000-0000-7000-8000-000000000001',
          client_id: 'the-application-id',
          client_secret: 'gloas-the-secret',
          scopes: DEFAULT_SCOPES,
        },
      ],
    },
  ),
  response: { 201: refTo(OAuthApp), ...problemsWithBody('not_found', 'oauth_app_exists') },
}

const read = {
  operationId: 'getOAuthApp',
  tags,
  summary: 'Read an OAuth app',
  description: 'With the callback_url to register at GitLab; its secret is not in the answer.',
  params: IdParams,
  response: { 200: refTo(OAuthApp), ...problems('not_found') },
}

const change = {
  operationId: 'updateOAuthApp',
  tags,
  summary: 'Change an OAuth app',
  description: 'For a renewed client secret, for example. Connections made through it stay.',
  params: IdParams,
  body: Type.Object(
    {
      client_id: Type.Optional(ClientId),
      client_secret: Type.Optional(ClientSecret),
      scopes: Type.Optional(Scopes),
    },
    {
      additionalProperties: false,
      minProperties: 1,
      examples: [{ client_secret: 'gloas-the-new-secret' }],
    },
  ),
  response: { 200: refTo(OAuthApp), ...problemsWithBody('not_found') },
}

const remove = {
  operationId: 'deleteOAuthApp',
  tags,
  summary: 'Delete an OAuth app',
  description: 'Only one without connections: without it they could not be refreshed.',
  params: IdParams,
  response: { 204: Type.Null({ description: 'Deleted.' }), ...problems('not_found', 'oauth_app_in_use') },
}

type Deps = { db: Database; clock: Clock; vault: Vault; publicUrl: string; authenticator: Authenticator }

export const registerOAuthAppRoutes = (app: App, deps: Deps): void => {
  const { db, publicUrl, authenticator } = deps
  const onRequest = authenticator.requireRole('admin')
  for (const schema of [OAuthApp, OAuthAppPage]) app.addSchema(schema)

  app.get('/v1/oauth-apps', { onRequest, schema: list }, async (request) => {
    const { limit = 20, cursor } = request.query
    const rows = await listOAuthApps(db, { after: readCursor(cursor), limit: limit + 1 })
    return toPage(rows, limit, (row) => toOAuthApp(row, publicUrl))
  })

  app.post('/v1/oauth-apps', { onRequest, schema: create }, async (request, reply) => {
    const { slug, instance_id, client_id, client_secret, scopes = DEFAULT_SCOPES } = request.body
    const principal = principalOf(request)
    requireEveryOrganization(principal)
    const fields = { slug, instanceId: instance_id, clientId: client_id, clientSecret: client_secret, scopes }
    const row = await createOAuthApp(deps, fields, actorOf(principal, request.id))
    return reply.code(201).send(toOAuthApp(row, publicUrl))
  })

  app.get('/v1/oauth-apps/:id', { onRequest, schema: read }, async (request) => {
    const row = await findOAuthApp(db, request.params.id)
    if (!row) throw notFound('OAuth app')
    return toOAuthApp(row, publicUrl)
  })

  app.patch('/v1/oauth-apps/:id', { onRequest, schema: change }, async (request) => {
    const { client_id, client_secret, scopes } = request.body
    const principal = principalOf(request)
    requireEveryOrganization(principal)
    const changes = { clientId: client_id, clientSecret: client_secret, scopes }
    const actor = actorOf(principal, request.id)
    return toOAuthApp(await changeOAuthApp(deps, request.params.id, changes, actor), publicUrl)
  })

  app.delete('/v1/oauth-apps/:id', { onRequest, schema: remove }, async (request, reply) => {
    const principal = principalOf(request)
    requireEveryOrganization(principal)
    await deleteOAuthApp(deps, request.params.id, actorOf(principal, request.id))
    return reply.code(204).send(null)
  })
}
