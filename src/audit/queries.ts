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
  | 'connect_session.created'
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

/** Give it the transaction of the change that it records: both happen, or neither. */
export const recordAuditEvent = async (db: Database, event: AuditEvent): Promise<void> => {
  await db
    .insertInto('audit_events')
    .values({
      id: uuidv7(),
      at: event.at,
      access_key_id: event.accessKeyId ?? null,
      organization: event.organization ?? null,
      action: event.action,
      subject_id: event.subjectId ?? null,
      request_id: event.requestId ?? null,
      details: JSON.stringify(event.details ?? {}),
    })
    .execute()
}
