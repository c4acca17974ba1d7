import { Type } from 'typebox'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { organizationsOf, requireOrganization } from '../callers/principal.ts'
import type { Database } from '../db/database.ts'
import { pageQuery } from '../http/page.ts'
import { problems } from '../http/problem-schema.ts'
import { Organization, refTo } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import { readTimeCursor, readTimeRange, recordQuery, toTimePage } from '../http/time-page.ts'
import { AuditEvent, AuditEventPage, AuditOutcome, toAuditEvent } from './audit-event.ts'
import { AUDIT_ACTIONS, listAuditEvents } from './queries.ts'

const list = {
  operationId: 'listAuditEvents',
  tags: ['Audit'],
  summary: 'Who did what',
  description:
    'The newest first. A key for some organizations sees the events of those alone. Which token was handed out to whom is in the list of leases.',
  querystring: Type.Object(
    {
      organization: Type.Optional(Organization),
      connection_id: Type.Optional(
        Type.String({ format: 'uuid', description: 'What was done to this connection.' }),
      ),
      access_key_id: Type.Optional(
        Type.String({ format: 'uuid', description: 'What was done with this access key.' }),
      ),
      action: Type.Optional(Type.String({ enum: [...AUDIT_ACTIONS], description: 'One kind of event.' })),
      outcome: Type.Optional(AuditOutcome),
      ...recordQuery,
      ...pageQuery,
    },
    { additionalProperties: false },
  ),
  response: { 200: refTo(AuditEventPage), ...problems('not_found') },
}

export const registerAuditRoutes = (
  app: App,
  { db, authenticator }: { db: Database; authenticator: Authenticator },
): void => {
  for (const schema of [AuditEvent, AuditEventPage]) app.addSchema(schema)

  app.get(
    '/v1/audit-events',
    { onRequest: authenticator.requireRole('admin'), schema: list },
    async (request) => {
      const { organization, connection_id, access_key_id, action, outcome, limit = 20 } = request.query
      const principal = principalOf(request)
      if (organization !== undefined) requireOrganization(principal, organization)
      const rows = await listAuditEvents(db, {
        organizations: organization === undefined ? organizationsOf(principal) : [organization],
        subjectId: connection_id,
        accessKeyId: access_key_id,
        action,
        outcome,
        ...readTimeRange(request.query),
        before: readTimeCursor(request.query.cursor),
        limit: limit + 1,
      })
      return toTimePage(rows, limit, ({ at }) => at, toAuditEvent)
    },
  )
}
