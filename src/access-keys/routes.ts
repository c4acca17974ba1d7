import { Type } from 'typebox'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { organizationsOf, originOf } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { AccessKeyRow } from '../db/tables.ts'
import { pageOf, pageQuery, readCursor, toPage } from '../http/page.ts'
import { problems, problemsWithBody } from '../http/problem-schema.ts'
import { Id, IdParams, isoTime, isoTimeOrNull, Name, NullableTime, refTo, Time } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import { createAccessKey } from './create-access-key.ts'
import { deleteAccessKey } from './delete-access-key.ts'
import { grantedFields, grantedShown, showGranted } from './granted.ts'
import { listAccessKeys } from './queries.ts'

const tags = ['Access keys']

const AccessKey = Type.Object(
  {
    id: Id('Of the access key; it appears in the audit log.'),
    name: Type.String(),
    ...grantedShown,
    created_at: Time('When it was made'),
    expires_at: NullableTime('When it stops working; null = never'),
  },
  { $id: 'AccessKey', description: 'An access key, without the key itself.' },
)

const NewAccessKey = Type.Object(
  { ...AccessKey.properties, key: Type.String({ description: 'The key itself, shown this once.' }) },
  { $id: 'NewAccessKey', description: 'An access key that was just made.' },
)

const AccessKeyPage = pageOf('AccessKeyPage', AccessKey)

const list = {
  operationId: 'listAccessKeys',
  tags,
  summary: 'List access keys',
  description: 'The keys whose organizations all lie within yours. The keys themselves are stored nowhere.',
  querystring: Type.Object(pageQuery, { additionalProperties: false }),
  response: { 200: refTo(AccessKeyPage), ...problems() },
}

const create = {
  operationId: 'createAccessKey',
  tags,
  summary: 'Create an access key',
  description:
    'The answer shows the key, this once. A key can grant no more than its maker holds, and never changes: to change it, create another and delete this one.',
  body: Type.Object(
    { name: Name, ...grantedFields, expires_at: Type.Optional(Type.String({ format: 'date-time' })) },
    {
      additionalProperties: false,
      examples: [{ name: 'nightly scanner', role: 'scanner', organizations: ['acme'] }],
    },
  ),
  response: { 201: refTo(NewAccessKey), ...problemsWithBody('not_found') },
}

const remove = {
  operationId: 'deleteAccessKey',
  tags,
  summary: 'Delete an access key',
  description: 'Takes effect at once, on every replica.',
  params: IdParams,
  response: { 204: Type.Null({ description: 'Deleted.' }), ...problems('not_found') },
}

const toAccessKey = (row: AccessKeyRow) => ({
  id: row.id,
  name: row.name,
  ...showGranted(row),
  created_at: isoTime(row.created_at),
  expires_at: isoTimeOrNull(row.expires_at),
})

type Deps = { db: Database; clock: Clock; authenticator: Authenticator }

export const registerAccessKeyRoutes = (app: App, deps: Deps): void => {
  const onRequest = deps.authenticator.requireRole('admin')
  for (const schema of [AccessKey, NewAccessKey, AccessKeyPage]) app.addSchema(schema)

  app.get('/v1/access-keys', { onRequest, schema: list }, async (request) => {
    const { limit = 20, cursor } = request.query
    const organizations = organizationsOf(principalOf(request))
    const rows = await listAccessKeys(deps.db, { organizations, after: readCursor(cursor), limit: limit + 1 })
    return toPage(rows, limit, toAccessKey)
  })

  app.post('/v1/access-keys', { onRequest, schema: create }, async (request, reply) => {
    const { row, key } = await createAccessKey(deps, request.body, principalOf(request), originOf(request))
    return reply
      .code(201)
      .header('cache-control', 'no-store')
      .send({ ...toAccessKey(row), key })
  })

  app.delete('/v1/access-keys/:id', { onRequest, schema: remove }, async (request, reply) => {
    await deleteAccessKey(deps, request.params.id, principalOf(request), originOf(request))
    return reply.code(204).send(null)
  })
}
