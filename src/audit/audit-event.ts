import { type Static, Type } from 'typebox'
import { pageOf } from '../http/page.ts'
import { Id, isoTime, NullableText, Time } from '../http/schemas.ts'
import { AUDIT_ACTIONS, type AuditEventRow } from './queries.ts'

export const AuditOutcome = Type.Union(
  [Type.Literal('success'), Type.Literal('refused'), Type.Literal('failed')],
  { description: '`refused`: the broker said no. `failed`: the act was tried and did not succeed.' },
)

export const AuditEvent = Type.Object(
  {
    id: Id('Of the event.'),
    at: Time('When it happened'),
    action: Type.String({
      description: `What was done: ${AUDIT_ACTIONS.map((action) => `\`${action}\``).join(', ')}.`,
      examples: ['connection.created'],
    }),
    outcome: AuditOutcome,
    access_key_id: NullableText(
      'Of the access key that did it; null = the broker itself, or nobody it knows.',
    ),
    organization: NullableText('In which organization; null = it concerns all of them, or none.'),
    subject_id: NullableText('Of what it was done to: a connection, an app, an access key.'),
    request_id: NullableText('Of the request; its line in the log has the same.'),
    address: NullableText('From which address the request came.'),
    token_hash: NullableText(
      'HMAC-SHA-256, in hex, of the token that it concerns: equal for equal tokens, under a key of this broker.',
    ),
    details: Type.Unsafe<Record<string, unknown>>({
      type: 'object',
      additionalProperties: true,
      description: 'More facts, by action. `count`: how many refusals this one event stands for.',
    }),
  },
  { $id: 'AuditEvent', description: 'One thing that was done or refused. It never changes.' },
)

export const AuditEventPage = pageOf('AuditEventPage', AuditEvent)

export const toAuditEvent = (row: AuditEventRow): Static<typeof AuditEvent> => ({
  id: row.id,
  at: isoTime(row.at),
  action: row.action,
  outcome: row.outcome,
  access_key_id: row.access_key_id,
  organization: row.organization,
  subject_id: row.subject_id,
  request_id: row.request_id,
  address: row.address,
  token_hash: row.token_hash,
  details: row.details,
})
