import { type OperationNodeSource, sql } from 'kysely'
import { v7 as uuidv7 } from 'uuid'
import type { Database } from '../db/database.ts'

export type AuditAction =
  | 'instance.created'
  | 'instance.updated'
  | 'instance.deleted'
  | 'oauth_app.created'
  | 'oauth_app.updated'
  | 'oauth_app.deleted'
  | 'access_key.created'
  | 'access_key.deleted'
  | 'trusted_issuer.created'
  | 'trusted_issuer.deleted'
  | 'connect_session.created'
  | 'lease.opened'
  | 'lease.opened_twice'
  | 'connection.created'
  | 'connection.updated'
  | 'connection.reconnected'
  | 'connection.deleted'
  | 'connection.refreshed'
  | 'connection.failed'

export type AuditEvent = {
  at: Date
  action: AuditAction
  accessKeyId?: string | undefined
  organization?: string | undefined
  subjectId?: string | undefined
  requestId?: string | undefined
  /** Facts that a reader needs; never a secret. */
  details?: Record<string, string | number | boolean | null>
}

const toRow = (event: AuditEvent) => ({
  id: uuidv7(),
  at: event.at,
  access_key_id: event.accessKeyId ?? null,
  organization: event.organization ?? null,
  action: event.action,
  subject_id: event.subjectId ?? null,
  request_id: event.requestId ?? null,
  details: JSON.stringify(event.details ?? {}),
})

/** Give it the transaction of the change that it records: both happen, or neither. */
export const recordAuditEvents = async (db: Database, events: AuditEvent[]): Promise<void> => {
  if (events.length > 0) await db.insertInto('audit_events').values(events.map(toRow)).execute()
}

export const recordAuditEvent = (db: Database, event: AuditEvent): Promise<void> =>
  recordAuditEvents(db, [event])

/**
 * Runs a change of one row at most and records it, in one statement instead of a transaction of four.
 * @param change returns `id` and `organization` of the row.
 * @returns 1 when there was a row to change, else 0.
 */
export const recordAuditEventOfEach = async (
  db: Database,
  change: OperationNodeSource,
  event: Omit<AuditEvent, 'organization' | 'subjectId'>,
): Promise<number> => {
  const row = toRow(event)
  const { rows } = await sql`
    with changed as (${change})
    insert into audit_events (id, at, access_key_id, organization, action, subject_id, request_id, details)
    select ${row.id}::uuid, ${row.at}::timestamptz, ${row.access_key_id}::uuid, changed.organization, ${row.action},
      changed.id, ${row.request_id}, ${row.details}::jsonb
    from changed
    returning id
  `.execute(db)
  return rows.length
}
