import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { actorOf, mayActIn, organizationsOf, requireOrganization } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { notFound } from '../errors/problem.ts'
import { pageQuery, readCursor, toPage } from '../http/page.ts'
import { problems, problemsWithBody } from '../http/problem-schema.ts'
import { BaseUrl, Labels, Name, Organization, refTo, Status } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import { baseUrlAt } from '../instances/resolve-instance.ts'
import { findPlaces } from '../places/queries.ts'
import { type ConnectionWithInstance, findConnection } from '../token-lifecycle/queries.ts'
import {
  Connection,
  ConnectionPage,
  ConnectionParams,
  ConnectionPlace,
  GitLabUser,
  toConnection,
} from './connection.ts'
import { type DisconnectDeps, disconnect } from './disconnect.ts'
import { listConnections } from './queries.ts'
import { updateConnection } from './update-connection.ts'

const tags = ['Connections']

const list = {
  operationId: 'listConnections',
  tags,
  summary: 'List connections',
  description: 'Lists the connections of your organizations. The answer contains no token.',
  querystring: Type.Object(
    {
      organization: Type.Optional(Organization),
      status: Type.Optional(Status),
      base_url: Type.Optional(BaseUrl),
      label: Type.Optional(
        Type.String({
          pattern: '^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}([:=].*)?$',
          maxLength: 400,
          description: 'Connections with this label: `team`, or with its value `team=payments`.',
          examples: ['team=payments'],
        }),
      ),
      ...pageQuery,
    },
    { additionalProperties: false },
  ),
  response: { 200: refTo(ConnectionPage), ...problems('not_found') },
}

const read = {
  operationId: 'getConnection',
  tags,
  summary: 'Read a connection',
  description: 'Shows how a connection stands. The answer contains no token.',
  params: ConnectionParams,
  response: { 200: refTo(Connection), ...problems('not_found') },
}

export const AutoRotate = Type.Boolean({
  description:
    'Whether the service rotates the token before it ends. The token needs the scope api or self_rotate.',
})

const update = {
  operationId: 'updateConnection',
  tags,
  summary: 'Change a connection',
  description: 'Changes the name, the labels (all of them), and whether the service rotates the token.',
  params: ConnectionParams,
  body: Type.Object(
    {
      name: Type.Optional(Type.Union([Name, Type.Null()])),
      auto_rotate: Type.Optional(AutoRotate),
      labels: Type.Optional(Labels),
    },
    { additionalProperties: false, minProperties: 1, examples: [{ name: 'nightly scans' }] },
  ),
  response: {
    200: refTo(Connection),
    ...problemsWithBody('not_found', 'wrong_token_kind', 'missing_scopes'),
  },
}

const Disconnection = Type.Object(
  {
    left_to_revoke: Type.Object({
      reason: Type.String({ description: 'Why the service could not revoke the token, for people.' }),
      where: Type.String({ description: 'The page at GitLab where a person can revoke it.' }),
    }),
  },
  { $id: 'Disconnection', description: 'What a person still has to revoke at GitLab.' },
)

const remove = {
  operationId: 'deleteConnection',
  tags,
  summary: 'Disconnect',
  description:
    'Revokes the token at GitLab and deletes the connection. 204: both are done. 200: the connection is deleted, and a person has to revoke the token at GitLab.',
  params: ConnectionParams,
  querystring: Type.Object(
    {
      revoke: Type.Optional(
        Type.Boolean({ default: true, description: 'false: the token stays valid at GitLab.' }),
      ),
    },
    { additionalProperties: false },
  ),
  response: {
    200: refTo(Disconnection),
    204: Type.Null({ description: 'The token is revoked and the connection deleted.' }),
    ...problems('not_found', 'gitlab_unavailable'),
  },
}

/** A connection of the caller's organizations. @throws {Problem} not_found */
export const requireOwnConnection = async (
  db: Database,
  request: FastifyRequest,
  id: string,
): Promise<ConnectionWithInstance> => {
  const row = await findConnection(db, id)
  if (!row || !mayActIn(principalOf(request), row.organization)) throw notFound('connection')
  return row
}

/** How a connection stands now, for an answer. */
export const showConnection = async (
  { db, clock }: { db: Database; clock: Clock },
  request: FastifyRequest,
  id: string,
) => {
  const row = await requireOwnConnection(db, request, id)
  const places = await findPlaces(db, [id])
  return toConnection(row, places.get(id) ?? [], new Date(clock()))
}

/** `team`, `team=payments` or `team:payments`. */
const readLabel = (text: string | undefined): { name: string; value: string | undefined } | undefined => {
  if (text === undefined) return undefined
  const at = text.search(/[:=]/)
  return at < 0 ? { name: text, value: undefined } : { name: text.slice(0, at), value: text.slice(at + 1) }
}

type Deps = DisconnectDeps & { authenticator: Authenticator }

export const registerConnectionRoutes = (app: App, deps: Deps): void => {
  const { db, clock, authenticator } = deps
  const onRequest = authenticator.requireRole('manager')
  for (const schema of [GitLabUser, ConnectionPlace, Connection, ConnectionPage, Disconnection])
    app.addSchema(schema)

  app.get('/v1/connections', { onRequest, schema: list }, async (request) => {
    const { organization, status, base_url, label, limit = 20, cursor } = request.query
    const principal = principalOf(request)
    if (organization !== undefined) requireOrganization(principal, organization)
    const now = new Date(clock())
    const rows = await listConnections(db, {
      organizations: organization === undefined ? organizationsOf(principal) : [organization],
      status,
      baseUrl: base_url === undefined ? undefined : await baseUrlAt(db, base_url),
      label: readLabel(label),
      after: readCursor(cursor),
      limit: limit + 1,
      now,
    })
    const places = await findPlaces(
      db,
      rows.map(({ id }) => id),
    )
    return toPage(rows, limit, (row) => toConnection(row, places.get(row.id) ?? [], now))
  })

  app.get('/v1/connections/:id', { onRequest, schema: read }, (request) =>
    showConnection(deps, request, request.params.id),
  )

  app.patch('/v1/connections/:id', { onRequest, schema: update }, async (request) => {
    const row = await requireOwnConnection(db, request, request.params.id)
    await updateConnection(deps, row, request.body, actorOf(principalOf(request), request))
    return showConnection(deps, request, row.id)
  })

  app.delete('/v1/connections/:id', { onRequest, schema: remove }, async (request, reply) => {
    const row = await requireOwnConnection(db, request, request.params.id)
    const { leftToRevoke } = await disconnect(
      deps,
      row.id,
      { revoke: request.query.revoke ?? true },
      actorOf(principalOf(request), request),
    )
    if (leftToRevoke) return reply.code(200).send({ left_to_revoke: leftToRevoke })
    return reply.code(204).send(null)
  })
}
