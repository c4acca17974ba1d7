import { type Static, Type } from 'typebox'
import { type AuditAction, recordAuditEvent } from '../audit/queries.ts'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { type Actor, actorOf, requireEveryOrganization } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { isForeignKeyViolation } from '../db/sqlstate.ts'
import type { OAuthAppRow } from '../db/tables.ts'
import { notFound, Problem } from '../errors/problem.ts'
import { pageOf, pageQuery, readCursor, toPage } from '../http/page.ts'
import { problems, problemsWithBody } from '../http/problem-schema.ts'
import { Id, IdParams, isoTime, refTo, Time } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import { findInstance } from '../instances/queries.ts'
import type { Vault } from '../vault/vault.ts'
import { callbackUrl } from './callback-url.ts'
import { deleteOAuthApp, findOAuthApp, listOAuthApps } from './queries.ts'
import { changeOAuthApp, createOAuthApp } from './save-oauth-app.ts'

const DEFAULT_SCOPES = ['read_user', 'read_api', 'read_repository']

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

const OAuthApp = Type.Object(
  {
    id: Id('Of the OAuth app.'),
    slug: Type.String(),
    instance_id: Type.String({ format: 'uuid' }),
    client_id: Type.String(),
    scopes: Type.Array(Type.String()),
    callback_url: Type.String({
      description: 'Enter this as the redirect URI of the application at GitLab, to the letter.',
    }),
    created_at: Time('When it was added'),
    updated_at: Time('When it was last changed'),
  },
  { $id: 'OAuthApp', description: 'An application registered at GitLab, without its secret.' },
)

const OAuthAppPage = pageOf('OAuthAppPage', OAuthApp)

type Deps = { db: Database; clock: Clock; vault: Vault; publicUrl: string; authenticator: Authenticator }

export const registerOAuthAppRoutes = (
  app: App,
  { db, clock, vault, publicUrl, authenticator }: Deps,
): void => {
  const onRequest = authenticator.requireRole('admin')
  for (const schema of [OAuthApp, OAuthAppPage]) app.addSchema(schema)
  const tags = ['OAuth apps']

  const toOAuthApp = (row: OAuthAppRow): Static<typeof OAuthApp> => ({
    id: row.id,
    slug: row.slug,
    instance_id: row.instance_id,
    client_id: row.client_id,
    scopes: row.scopes,
    callback_url: callbackUrl(publicUrl, row.slug),
    created_at: isoTime(row.created_at),
    updated_at: isoTime(row.updated_at),
  })

  const record = (transaction: Database, action: AuditAction, row: OAuthAppRow, actor: Actor) =>
    recordAuditEvent(transaction, {
      at: new Date(clock()),
      action,
      ...actor,
      subjectId: row.id,
      details: { slug: row.slug, client_id: row.client_id },
    })

  app.get(
    '/v1/oauth-apps',
    {
      onRequest,
      schema: {
        operationId: 'listOAuthApps',
        tags,
        summary: 'List OAuth apps',
        description: 'Of all instances. No secret is in the answer.',
        querystring: Type.Object(pageQuery, { additionalProperties: false }),
        response: { 200: refTo(OAuthAppPage), ...problems() },
      },
    },
    async (request) => {
      const { limit = 20, cursor } = request.query
      return toPage(
        await listOAuthApps(db, { after: readCursor(cursor), limit: limit + 1 }),
        limit,
        toOAuthApp,
      )
    },
  )

  app.post(
    '/v1/oauth-apps',
    {
      onRequest,
      schema: {
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
      },
    },
    async (request, reply) => {
      const { slug, instance_id, client_id, client_secret, scopes = DEFAULT_SCOPES } = request.body
      const principal = principalOf(request)
      requireEveryOrganization(principal)
      if (!(await findInstance(db, instance_id))) throw notFound('instance')
      const row = await db.transaction().execute(async (transaction) => {
        const fields = {
          slug,
          instanceId: instance_id,
          clientId: client_id,
          clientSecret: client_secret,
          scopes,
        }
        const created = await createOAuthApp(transaction, { vault, clock }, fields)
        await record(transaction, 'oauth_app.created', created, actorOf(principal, request))
        return created
      })
      return reply.code(201).send(toOAuthApp(row))
    },
  )

  app.get(
    '/v1/oauth-apps/:id',
    {
      onRequest,
      schema: {
        operationId: 'getOAuthApp',
        tags,
        summary: 'Read an OAuth app',
        description: 'With the callback_url to register at GitLab; its secret is not in the answer.',
        params: IdParams,
        response: { 200: refTo(OAuthApp), ...problems('not_found') },
      },
    },
    async (request) => {
      const row = await findOAuthApp(db, request.params.id)
      if (!row) throw notFound('OAuth app')
      return toOAuthApp(row)
    },
  )

  app.patch(
    '/v1/oauth-apps/:id',
    {
      onRequest,
      schema: {
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
      },
    },
    async (request) => {
      const { client_id, client_secret, scopes } = request.body
      const principal = principalOf(request)
      requireEveryOrganization(principal)
      const row = await db.transaction().execute(async (transaction) => {
        const changed = await changeOAuthApp(transaction, { vault, clock }, request.params.id, {
          ...(client_id === undefined ? {} : { clientId: client_id }),
          ...(client_secret === undefined ? {} : { clientSecret: client_secret }),
          ...(scopes === undefined ? {} : { scopes }),
        })
        await record(transaction, 'oauth_app.updated', changed, actorOf(principal, request))
        return changed
      })
      return toOAuthApp(row)
    },
  )

  app.delete(
    '/v1/oauth-apps/:id',
    {
      onRequest,
      schema: {
        operationId: 'deleteOAuthApp',
        tags,
        summary: 'Delete an OAuth app',
        description: 'Only one without connections: without it they could not be refreshed.',
        params: IdParams,
        response: {
          204: Type.Null({ description: 'Deleted.' }),
          ...problems('not_found', 'oauth_app_in_use'),
        },
      },
    },
    async (request, reply) => {
      const principal = principalOf(request)
      requireEveryOrganization(principal)
      const row = await findOAuthApp(db, request.params.id)
      if (!row) throw notFound('OAuth app')
      await db
        .transaction()
        .execute(async (transaction) => {
          if (!(await deleteOAuthApp(transaction, row.id))) throw notFound('OAuth app')
          await record(transaction, 'oauth_app.deleted', row, actorOf(principal, request))
        })
        .catch((error: unknown) => {
          if (isForeignKeyViolation(error)) {
            throw new Problem(
              'oauth_app_in_use',
              'Connections still refresh through this app. Disconnect them first.',
            )
          }
          throw error
        })
      return reply.code(204).send(null)
    },
  )
}
