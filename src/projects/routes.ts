import { Type } from 'typebox'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { organizationsOf, requireOrganization } from '../callers/principal.ts'
import { ConnectionParams } from '../connections/connection.ts'
import { requireOwnConnection } from '../connections/routes.ts'
import type { Database } from '../db/database.ts'
import { DEFAULT_LIMIT, pageQuery, toPage } from '../http/page.ts'
import { problems } from '../http/problem-schema.ts'
import { Organization } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import {
  PROJECT_SCHEMAS,
  reachedCursorOf,
  readIdCursor,
  readReachedCursor,
  refToPage,
  toGroup,
  toProject,
  toReachedProject,
} from './project.ts'
import { listGroups, listProjects, listReachedProjects } from './queries.ts'

const tags = ['Projects']
const Search = Type.String({
  minLength: 1,
  maxLength: 200,
  description:
    'A part of the full path, in upper or lower case. It begins with a word of the path: `shop` and `web-sh` find `acme/web-shop`, `hop` does not.',
  examples: ['platform/api'],
})
const missing = Type.Optional(
  Type.Boolean({
    description: 'true: only what GitLab does not list any more. false: only what it lists. Left out: both.',
  }),
)
const filter = {
  search: Type.Optional(Search),
  archived: Type.Optional(
    Type.Boolean({ description: 'true: only archived projects. false: only those that are not.' }),
  ),
  pushed_after: Type.Optional(
    Type.String({
      format: 'date-time',
      description:
        'Only projects in which something happened after this time, a push among others (RFC 3339). GitLab writes the time once an hour: leave an hour of overlap.',
      examples: ['2026-01-31T00:00:00Z'],
    }),
  ),
}

const listAll = {
  operationId: 'listProjects',
  tags,
  summary: 'List the projects that your connections reach',
  description:
    'What there is to scan: each project whose code may be read, once for each organization, with the connections that reach it. Projects that GitLab does not list any more are left out. A project is scanned by its `url`, with a credential looked up by that URL.',
  querystring: Type.Object(
    { organization: Type.Optional(Organization), ...filter, ...pageQuery },
    { additionalProperties: false },
  ),
  response: { 200: refToPage.reached, ...problems('not_found') },
}

const listOfConnection = {
  operationId: 'listConnectionProjects',
  tags,
  summary: 'List the projects of a connection',
  description:
    'The projects that the connection reaches, as GitLab told when they were last read, by their ids. Those that GitLab does not list any more have `missing_since`.',
  params: ConnectionParams,
  querystring: Type.Object({ ...filter, missing, ...pageQuery }, { additionalProperties: false }),
  response: { 200: refToPage.projects, ...problems('not_found') },
}

const groupsOfConnection = {
  operationId: 'listConnectionGroups',
  tags,
  summary: 'List the groups of a connection',
  description:
    'The groups of which the account of the connection is a member, within what the connection covers, by their ids.',
  params: ConnectionParams,
  querystring: Type.Object(
    { search: Type.Optional(Search), missing, ...pageQuery },
    { additionalProperties: false },
  ),
  response: { 200: refToPage.groups, ...problems('not_found') },
}

const toTime = (text: string | undefined): Date | undefined =>
  text === undefined ? undefined : new Date(text)

export const registerProjectRoutes = (
  app: App,
  { db, authenticator }: { db: Database; authenticator: Authenticator },
): void => {
  const onRequest = authenticator.requireRole('manager')
  for (const schema of PROJECT_SCHEMAS) app.addSchema(schema)

  app.get('/v1/projects', { onRequest, schema: listAll }, async (request) => {
    const { organization, search, archived, pushed_after, limit = DEFAULT_LIMIT, cursor } = request.query
    const principal = principalOf(request)
    if (organization !== undefined) requireOrganization(principal, organization)
    const rows = await listReachedProjects(db, {
      organizations: organization === undefined ? organizationsOf(principal) : [organization],
      search,
      archived,
      pushedAfter: toTime(pushed_after),
      after: readReachedCursor(cursor),
      limit: limit + 1,
    })
    return toPage(rows, limit, toReachedProject, reachedCursorOf)
  })

  app.get('/v1/connections/:id/projects', { onRequest, schema: listOfConnection }, async (request) => {
    const { id, organization } = await requireOwnConnection(db, request, request.params.id)
    const { search, archived, pushed_after, missing, limit = DEFAULT_LIMIT, cursor } = request.query
    const rows = await listProjects(db, {
      connectionId: id,
      organization,
      search,
      archived,
      missing,
      pushedAfter: toTime(pushed_after),
      after: readIdCursor(cursor),
      limit: limit + 1,
    })
    return toPage(rows, limit, toProject)
  })

  app.get('/v1/connections/:id/groups', { onRequest, schema: groupsOfConnection }, async (request) => {
    const { id } = await requireOwnConnection(db, request, request.params.id)
    const { search, missing, limit = DEFAULT_LIMIT, cursor } = request.query
    const options = { connectionId: id, search, missing, after: readIdCursor(cursor), limit: limit + 1 }
    const rows = await listGroups(db, options)
    return toPage(rows, limit, toGroup)
  })
}
