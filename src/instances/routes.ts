import { X509Certificate } from 'node:crypto'
import { type Static, Type } from 'typebox'
import { v7 as uuidv7 } from 'uuid'
import { type AuditAction, recordAuditEvent } from '../audit/queries.ts'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { type Actor, actorOf, requireEveryOrganization } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { isForeignKeyViolation, isUniqueViolation } from '../db/sqlstate.ts'
import type { InstanceRow } from '../db/tables.ts'
import { invalidField, notFound, Problem } from '../errors/problem.ts'
import { canonicalBaseUrl } from '../gitlab/base-url.ts'
import { isSchemeAllowed } from '../gitlab/http-client.ts'
import { pageOf, pageQuery, readCursor, toPage } from '../http/page.ts'
import { problems, problemsWithBody } from '../http/problem-schema.ts'
import { BaseUrl, Id, IdParams, isoTime, Name, NullableText, refTo, Time } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import { deleteInstance, findInstance, insertInstance, listInstances, updateInstance } from './queries.ts'

/** Without defaults: a change of one of them leaves the others as they are. */
const settings = {
  name: Type.Optional(Name),
  allow_private_network: Type.Optional(
    Type.Boolean({
      description:
        'Whether private addresses and plain http are allowed. Off when left out of a new instance; switch it on for a GitLab inside your own network only.',
    }),
  ),
  ca_certificate: Type.Optional(
    Type.Union([Type.String({ maxLength: 50_000 }), Type.Null()], {
      description:
        'PEM of the private certificate authority, trusted for this instance in addition to the public ones.',
    }),
  ),
}

const Instance = Type.Object(
  {
    id: Id('Of the instance.'),
    base_url: Type.String(),
    name: Type.String(),
    allow_private_network: Type.Boolean(),
    ca_certificate: NullableText('PEM of the private certificate authority.'),
    created_at: Time('When it was added'),
    updated_at: Time('When it was last changed'),
  },
  { $id: 'Instance', description: 'A GitLab server, and how far it is trusted.' },
)

const InstancePage = pageOf('InstancePage', Instance)

const toInstance = (row: InstanceRow): Static<typeof Instance> => ({
  id: row.id,
  base_url: row.base_url,
  name: row.name,
  allow_private_network: row.allow_private_network,
  ca_certificate: row.ca_certificate,
  created_at: isoTime(row.created_at),
  updated_at: isoTime(row.updated_at),
})

const requireCertificate = (pem: string | null | undefined): void => {
  if (pem === null || pem === undefined) return
  try {
    new X509Certificate(pem)
  } catch {
    throw invalidField('ca_certificate', 'is not a certificate in PEM form')
  }
}

const requireAllowedScheme = (baseUrl: string, allowPrivateNetwork: boolean): void => {
  if (!isSchemeAllowed({ baseUrl, allowPrivateNetwork, caCertificate: null })) {
    throw invalidField('base_url', 'must be https; plain http takes allow_private_network')
  }
}

export const registerInstanceRoutes = (
  app: App,
  { db, clock, authenticator }: { db: Database; clock: Clock; authenticator: Authenticator },
): void => {
  const onRequest = authenticator.requireRole('admin')
  for (const schema of [Instance, InstancePage]) app.addSchema(schema)
  const tags = ['Instances']

  const record = (transaction: Database, action: AuditAction, row: InstanceRow, actor: Actor) =>
    recordAuditEvent(transaction, {
      at: new Date(clock()),
      action,
      ...actor,
      subjectId: row.id,
      details: { base_url: row.base_url, allow_private_network: row.allow_private_network },
    })

  app.get(
    '/v1/instances',
    {
      onRequest,
      schema: {
        operationId: 'listInstances',
        tags,
        summary: 'List GitLab instances',
        description: 'https://gitlab.com is there from the start.',
        querystring: Type.Object(pageQuery, { additionalProperties: false }),
        response: { 200: refTo(InstancePage), ...problems() },
      },
    },
    async (request) => {
      const { limit = 20, cursor } = request.query
      return toPage(
        await listInstances(db, { after: readCursor(cursor), limit: limit + 1 }),
        limit,
        toInstance,
      )
    },
  )

  app.post(
    '/v1/instances',
    {
      onRequest,
      schema: {
        operationId: 'createInstance',
        tags,
        summary: 'Add a GitLab instance',
        description:
          'Needed for a GitLab with a private address, plain http or a private certificate authority. Any other is added by itself when the first account on it is connected.',
        body: Type.Object(
          { base_url: BaseUrl, ...settings },
          {
            additionalProperties: false,
            examples: [{ base_url: 'https://gitlab.example.com', name: 'Company GitLab' }],
          },
        ),
        response: { 201: refTo(Instance), ...problemsWithBody('instance_exists') },
      },
    },
    async (request, reply) => {
      const { base_url, name, allow_private_network = false, ca_certificate = null } = request.body
      const principal = principalOf(request)
      requireEveryOrganization(principal)
      const baseUrl = canonicalBaseUrl(base_url)
      if (baseUrl === undefined)
        throw invalidField('base_url', 'is not the URL of a server, such as https://gitlab.example.com')
      requireAllowedScheme(baseUrl, allow_private_network)
      requireCertificate(ca_certificate)
      const now = new Date(clock())
      const row = await db
        .transaction()
        .execute(async (transaction) => {
          const inserted = await insertInstance(transaction, {
            id: uuidv7(),
            base_url: baseUrl,
            name: name ?? new URL(baseUrl).host,
            allow_private_network,
            ca_certificate,
            created_at: now,
            updated_at: now,
          })
          await record(transaction, 'instance.created', inserted, actorOf(principal, request))
          return inserted
        })
        .catch((error: unknown) => {
          if (isUniqueViolation(error))
            throw new Problem('instance_exists', `${baseUrl} is already registered.`)
          throw error
        })
      return reply.code(201).send(toInstance(row))
    },
  )

  app.get(
    '/v1/instances/:id',
    {
      onRequest,
      schema: {
        operationId: 'getInstance',
        tags,
        summary: 'Read a GitLab instance',
        description: 'Where it is and how far it is trusted.',
        params: IdParams,
        response: { 200: refTo(Instance), ...problems('not_found') },
      },
    },
    async (request) => {
      const row = await findInstance(db, request.params.id)
      if (!row) throw notFound('instance')
      return toInstance(row)
    },
  )

  app.patch(
    '/v1/instances/:id',
    {
      onRequest,
      schema: {
        operationId: 'updateInstance',
        tags,
        summary: 'Change a GitLab instance',
        description: 'Its name and trust profile; the base URL is what it is.',
        params: IdParams,
        body: Type.Object(settings, {
          additionalProperties: false,
          minProperties: 1,
          examples: [{ name: 'Company GitLab' }],
        }),
        response: { 200: refTo(Instance), ...problemsWithBody('not_found') },
      },
    },
    async (request) => {
      const principal = principalOf(request)
      requireEveryOrganization(principal)
      requireCertificate(request.body.ca_certificate)
      const { name, allow_private_network, ca_certificate } = request.body
      return db.transaction().execute(async (transaction) => {
        const updated = await updateInstance(transaction, request.params.id, {
          ...(name === undefined ? {} : { name }),
          ...(allow_private_network === undefined ? {} : { allow_private_network }),
          ...(ca_certificate === undefined ? {} : { ca_certificate }),
          updated_at: new Date(clock()),
        })
        if (!updated) throw notFound('instance')
        requireAllowedScheme(updated.base_url, updated.allow_private_network)
        await record(transaction, 'instance.updated', updated, actorOf(principal, request))
        return toInstance(updated)
      })
    },
  )

  app.delete(
    '/v1/instances/:id',
    {
      onRequest,
      schema: {
        operationId: 'deleteInstance',
        tags,
        summary: 'Delete a GitLab instance',
        description: 'Only one without OAuth apps and connections.',
        params: IdParams,
        response: {
          204: Type.Null({ description: 'Deleted.' }),
          ...problems('not_found', 'instance_in_use'),
        },
      },
    },
    async (request, reply) => {
      const principal = principalOf(request)
      requireEveryOrganization(principal)
      const row = await findInstance(db, request.params.id)
      if (!row) throw notFound('instance')
      await db
        .transaction()
        .execute(async (transaction) => {
          if (!(await deleteInstance(transaction, row.id))) throw notFound('instance')
          await record(transaction, 'instance.deleted', row, actorOf(principal, request))
        })
        .catch((error: unknown) => {
          if (isForeignKeyViolation(error)) {
            throw new Problem(
              'instance_in_use',
              'OAuth apps or connections still use the instance. Delete them first.',
            )
          }
          throw error
        })
      return reply.code(204).send(null)
    },
  )
}
