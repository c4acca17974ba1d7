import { Type } from 'typebox'
import { v7 as uuidv7 } from 'uuid'
import { recordAuditEvent } from '../audit/queries.ts'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { actorOf, EVERY_ORGANIZATION, mayActIn, organizationsOf } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { AccessKeyRow } from '../db/tables.ts'
import { invalidField, notFound, Problem } from '../errors/problem.ts'
import { pageOf, pageQuery, readCursor, toPage } from '../http/page.ts'
import { problems, problemsWithBody } from '../http/problem-schema.ts'
import {
  Id,
  IdParams,
  isoTime,
  isoTimeOrNull,
  Name,
  NullableTime,
  Organization,
  refTo,
  Time,
} from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import { generateAccessKey, hashAccessKey } from './key-format.ts'
import { deleteAccessKey, findAccessKey, insertAccessKey, listAccessKeys } from './queries.ts'

const Role = Type.Union([Type.Literal('admin'), Type.Literal('manager'), Type.Literal('scanner')], {
  description: 'Each role may do what those below it may: scanner < manager < admin.',
})

const AccessKey = Type.Object(
  {
    id: Id('Of the access key; it appears in the audit log.'),
    name: Type.String(),
    role: Role,
    organizations: Type.Array(Type.String(), { description: '`*` stands for all.' }),
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

const toAccessKey = ({ id, name, role, organizations, created_at, expires_at }: AccessKeyRow) => ({
  id,
  name,
  role,
  organizations,
  created_at: isoTime(created_at),
  expires_at: isoTimeOrNull(expires_at),
})

/** The organization whose record an act on a key belongs to: a key of several concerns them all. */
const onlyOrganization = ([first, ...more]: string[]): string | undefined =>
  more.length > 0 || first === EVERY_ORGANIZATION ? undefined : first

export const registerAccessKeyRoutes = (
  app: App,
  { db, clock, authenticator }: { db: Database; clock: Clock; authenticator: Authenticator },
): void => {
  const onRequest = authenticator.requireRole('admin')
  for (const schema of [AccessKey, NewAccessKey, AccessKeyPage]) app.addSchema(schema)

  app.get(
    '/v1/access-keys',
    {
      onRequest,
      schema: {
        operationId: 'listAccessKeys',
        tags: ['Access keys'],
        summary: 'List access keys',
        description:
          'The keys whose organizations all lie within yours. The keys themselves are stored nowhere.',
        querystring: Type.Object(pageQuery, { additionalProperties: false }),
        response: { 200: refTo(AccessKeyPage), ...problems() },
      },
    },
    async (request) => {
      const { limit = 20, cursor } = request.query
      const organizations = organizationsOf(principalOf(request))
      const rows = await listAccessKeys(db, { organizations, after: readCursor(cursor), limit: limit + 1 })
      return toPage(rows, limit, toAccessKey)
    },
  )

  app.post(
    '/v1/access-keys',
    {
      onRequest,
      schema: {
        operationId: 'createAccessKey',
        tags: ['Access keys'],
        summary: 'Create an access key',
        description: 'The answer shows the key, this once. A key can grant no more than its maker holds.',
        body: Type.Object(
          {
            name: Name,
            role: Role,
            organizations: Type.Array(Type.Union([Organization, Type.Literal(EVERY_ORGANIZATION)]), {
              minItems: 1,
              maxItems: 1000,
              uniqueItems: true,
            }),
            expires_at: Type.Optional(Type.String({ format: 'date-time' })),
          },
          {
            additionalProperties: false,
            examples: [{ name: 'nightly scanner', role: 'scanner', organizations: ['acme'] }],
          },
        ),
        response: {
          201: refTo(NewAccessKey),
          ...problemsWithBody('not_found'),
        },
      },
    },
    async (request, reply) => {
      const { name, role, organizations, expires_at } = request.body
      const principal = principalOf(request)
      const now = new Date(clock())
      const outside = organizations.filter((organization) => !mayActIn(principal, organization))
      if (outside.includes(EVERY_ORGANIZATION))
        throw new Problem('forbidden', 'Your own key is not for all organizations.')
      if (outside.length > 0) throw notFound('organization')
      const expiresAt = expires_at === undefined ? null : new Date(expires_at)
      if (expiresAt && expiresAt <= now) throw invalidField('expires_at', 'lies in the past')

      const key = generateAccessKey(role)
      const row = await db.transaction().execute(async (transaction) => {
        const inserted = await insertAccessKey(transaction, {
          id: uuidv7(),
          name,
          role,
          organizations,
          key_sha256: hashAccessKey(key),
          created_at: now,
          expires_at: expiresAt,
        })
        const details = { name, role, organizations: organizations.join(' ') }
        const organization = onlyOrganization(organizations)
        await recordAuditEvent(transaction, {
          at: now,
          action: 'access_key.created',
          organization,
          subjectId: inserted.id,
          ...actorOf(principal, request),
          details,
        })
        return inserted
      })
      return reply
        .code(201)
        .header('cache-control', 'no-store')
        .send({ ...toAccessKey(row), key })
    },
  )

  app.delete(
    '/v1/access-keys/:id',
    {
      onRequest,
      schema: {
        operationId: 'deleteAccessKey',
        tags: ['Access keys'],
        summary: 'Delete an access key',
        description: 'Takes effect at once, on every replica.',
        params: IdParams,
        response: { 204: Type.Null({ description: 'Deleted.' }), ...problems('not_found') },
      },
    },
    async (request, reply) => {
      const principal = principalOf(request)
      const row = await findAccessKey(db, request.params.id)
      if (!row?.organizations.every((organization) => mayActIn(principal, organization)))
        throw notFound('access key')
      await db.transaction().execute(async (transaction) => {
        if (!(await deleteAccessKey(transaction, row.id))) throw notFound('access key')
        await recordAuditEvent(transaction, {
          at: new Date(clock()),
          action: 'access_key.deleted',
          organization: onlyOrganization(row.organizations),
          subjectId: row.id,
          ...actorOf(principal, request),
          details: { name: row.name },
        })
      })
      return reply.code(204).send(null)
    },
  )
}
