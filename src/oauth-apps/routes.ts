import { Type } from 'typebox'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { actorOf, organizationsOf, requireEveryOrganization } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { notFound } from '../errors/problem.ts'
import { pageQuery, readCursor, toPage } from '../http/page.ts'
import { requirePasted } from '../http/pasted-field.ts'
import { problems, problemsWithBody } from '../http/problem-schema.ts'
import { Id, idParams, refTo } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import type { Vault } from '../vault/vault.ts'
import { changeOAuthApp } from './change-oauth-app.ts'
import { createOAuthApp } from './create-oauth-app.ts'
import { deleteOAuthApp } from './delete-oauth-app.ts'
import { OAuthApp, OAuthAppPage, toOAuthApp } from './oauth-app.ts'
import { findOAuthAppOf, listOAuthApps } from './queries.ts'

const DEFAULT_SCOPES = ['read_user', 'read_api', 'read_repository']
const tags = ['OAuth apps']
const params = idParams('Id of the OAuth app: `id` of `GET /v1/oauth-apps`.')

const Slug = Type.String({
  pattern: '^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$',
  'x-form': 'lower-case letters, digits and "-", with a letter or digit at both ends, such as gitlab-com',
  description: 'Name of the app in URLs. It cannot change, because the callback URL contains it.',
  examples: ['gitlab-com'],
})
/** With what may come along when one is copied; src/pasted reads it. */
const LONGEST_PASTED_SECRET = 500

const ClientId = Type.String({
  minLength: 1,
  maxLength: LONGEST_PASTED_SECRET,
  description:
    '"Application ID" at GitLab. The service takes off spaces, quotes and labels that were copied with it.',
})
const ClientSecret = Type.String({
  minLength: 1,
  maxLength: LONGEST_PASTED_SECRET,
  description:
    '"Secret" at GitLab. The service takes off spaces, quotes and labels that were copied with it, stores the secret encrypted and never shows it.',
})
const Scopes = Type.Array(Type.String({ pattern: '^[a-z_]{2,64}$', 'x-form': 'a scope such as read_api' }), {
  minItems: 1,
  maxItems: 50,
  uniqueItems: true,
  description:
    'What the service asks people to grant: the scopes that the application has at GitLab, or fewer.',
})

const list = {
  operationId: 'listOAuthApps',
  tags,
  summary: 'List OAuth apps',
  description: 'Lists the apps of all instances. The answer contains no secret.',
  querystring: Type.Object(pageQuery, { additionalProperties: false }),
  response: { 200: refTo(OAuthAppPage), ...problems() },
}

const create = {
  operationId: 'createOAuthApp',
  tags,
  summary: 'Add an OAuth app',
  description:
    'Tells the service about an application that you registered at GitLab as confidential. The answer contains the callback_url: enter it at GitLab as the redirect URI.',
  body: Type.Object(
    {
      slug: Slug,
      instance_id: Id('Id of the instance on which you registered it: `id` of `GET /v1/instances`.'),
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
  description: 'Shows the callback_url to register at GitLab. The answer does not contain the secret.',
  params,
  response: { 200: refTo(OAuthApp), ...problems('not_found') },
}

const change = {
  operationId: 'updateOAuthApp',
  tags,
  summary: 'Change an OAuth app',
  description:
    'Changes the client secret after you renewed it, for example. Connections that people made through the app stay.',
  params,
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
  description: 'Deletes an app that no connection uses. A connection needs its app to be refreshed.',
  params,
  response: {
    204: Type.Null({ description: 'The app is deleted.' }),
    ...problems('not_found', 'oauth_app_in_use'),
  },
}

type Credentials = { client_id?: string; client_secret?: string }
type ReadCredentials<Given extends Credentials> = {
  clientId: Given['client_id'] extends string ? string : string | undefined
  clientSecret: Given['client_secret'] extends string ? string : string | undefined
}

/** Both without what came along when they were copied. @throws {Problem} invalid_request */
const readCredentials = <Given extends Credentials>(given: Given): ReadCredentials<Given> => {
  const read = (field: 'client_id' | 'client_secret') => {
    const text = given[field]
    return text === undefined ? undefined : requirePasted(field, text, field).value
  }
  return { clientId: read('client_id'), clientSecret: read('client_secret') } as ReadCredentials<Given>
}

type Deps = { db: Database; clock: Clock; vault: Vault; publicUrl: string; authenticator: Authenticator }

export const registerOAuthAppRoutes = (app: App, deps: Deps): void => {
  const { db, publicUrl, authenticator } = deps
  const onRequest = authenticator.requireRole('admin')
  for (const schema of [OAuthApp, OAuthAppPage]) app.addSchema(schema)

  app.get('/v1/oauth-apps', { onRequest, schema: list }, async (request) => {
    const { limit = 20, cursor } = request.query
    const rows = await listOAuthApps(db, {
      organizations: organizationsOf(principalOf(request)),
      after: readCursor(cursor),
      limit: limit + 1,
    })
    return toPage(rows, limit, (row) => toOAuthApp(row, publicUrl))
  })

  app.post('/v1/oauth-apps', { onRequest, schema: create }, async (request, reply) => {
    const { slug, instance_id, scopes = DEFAULT_SCOPES } = request.body
    const { clientId, clientSecret } = readCredentials(request.body)
    const principal = principalOf(request)
    requireEveryOrganization(principal)
    const fields = { slug, instanceId: instance_id, clientId, clientSecret, scopes }
    const row = await createOAuthApp(deps, fields, actorOf(principal, request))
    return reply.code(201).send(toOAuthApp(row, publicUrl))
  })

  app.get('/v1/oauth-apps/:id', { onRequest, schema: read }, async (request) => {
    const row = await findOAuthAppOf(db, request.params.id, organizationsOf(principalOf(request)))
    if (!row) throw notFound('OAuth app')
    return toOAuthApp(row, publicUrl)
  })

  app.patch('/v1/oauth-apps/:id', { onRequest, schema: change }, async (request) => {
    const { scopes } = request.body
    const principal = principalOf(request)
    requireEveryOrganization(principal)
    const changes = { ...readCredentials(request.body), scopes }
    const actor = actorOf(principal, request)
    return toOAuthApp(await changeOAuthApp(deps, request.params.id, changes, actor), publicUrl)
  })

  app.delete('/v1/oauth-apps/:id', { onRequest, schema: remove }, async (request, reply) => {
    const principal = principalOf(request)
    requireEveryOrganization(principal)
    await deleteOAuthApp(deps, request.params.id, actorOf(principal, request))
    return reply.code(204).send(null)
  })
}
