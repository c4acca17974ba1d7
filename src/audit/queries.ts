import { type OperationNodeSource, sql } from 'kysely'
import { v7 as uuidv7 } from 'uuid'
import type { Database } from '../db/database.ts'
import type { AuditOutcome } from '../db/record-tables.ts'
import type { TimeCursor } from '../http/time-page.ts'

export const AUDIT_ACTIONS = [
  'instance.created',
  'instance.updated',
  'instance.deleted',
  'oauth_app.created',
  'oauth_app.updated',
  'oauth_app.deleted',
  'access_key.created',
  'access_key.deleted',
  'trusted_issuer.created',
  'trusted_issuer.deleted',
  'connect_session.created',
  'connect_session.ended',
  'connection.created',
  'connection.updated',
  'connection.reconnected',
  'connection.deleted',
  'connection.refreshed',
  'connection.failed',
  'grant.dropped',
  'lease.opened',
  'lease.opened_twice',
  'sign_in.accepted',
  'sign_in.refused',
  'access.unauthorized',
  'access.forbidden',
  'secret.tampered',
  'keys.rotated',
  'leases.deleted_old',
  'audit.deleted_old',
] as const

export type AuditAction = (typeof AUDIT_ACTIONS)[number]

/** Who did something, and from where. */
export type AuditActor = {
  accessKeyId?: string | undefined
  requestId?: string | undefined
  /** Of the client. */
  address?: string | undefined
}

export type AuditEvent = AuditActor & {
  at: Date
  action: AuditAction
  /** success, unless it says otherwise. */
  outcome?: AuditOutcome
  organization?: string | undefined
  subjectId?: string | undefined
  /** Of the token that the act concerns (vault.tokenHash). */
  tokenHash?: string | undefined
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
  address: event.address ?? null,
  outcome: event.outcome ?? 'success',
  token_hash: event.tokenHash ?? null,
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
    insert into audit_events (id, at, access_key_id, organization, action, subject_id, request_id, details, address,
      outcome, token_hash)
    select ${row.id}::uuid, ${row.at}::timestamptz, ${row.access_key_id}::uuid, changed.organization, ${row.action},
      changed.id, ${row.request_id}, ${row.details}::jsonb, ${row.address}, ${row.outcome}, ${row.token_hash}
    from changed
    returning id
  `.execute(db)
  return rows.length
}

/**
 * The same for a change of many rows, each with an event of its own: the text of a statement, which answers `subject_id`
 * of each row that was changed.
 * @param change returns `id` and `organization` of the rows.
 * @param firstParameter number of the first of eventParameters.
 */
export const recordingEach = ({
  change,
  firstParameter,
}: {
  change: string
  firstParameter: number
}): string => {
  const arrays = EACH_HAS.map((type, index) => `$${firstParameter + index}::${type}[]`)
  return `
    with changed as (${change})
    insert into audit_events (id, at, access_key_id, organization, action, subject_id, request_id, details, address,
      outcome, token_hash)
    select event.id, event.at, event.access_key_id, changed.organization, event.action, event.subject_id,
      event.request_id, event.details::jsonb, event.address, event.outcome, event.token_hash
    from unnest(${arrays.join(', ')})
      as event (id, at, access_key_id, action, subject_id, request_id, details, address, outcome, token_hash)
    join changed on changed.id = event.subject_id::uuid
    returning subject_id`
}

/** The types of eventParameters. */
const EACH_HAS = ['uuid', 'timestamptz', 'uuid', 'text', 'text', 'text', 'text', 'text', 'text', 'text']

export const eventParameters = (
  events: (Omit<AuditEvent, 'organization'> & { subjectId: string })[],
): unknown[] => {
  const rows = events.map(toRow)
  const column = (name: keyof (typeof rows)[number]) => rows.map((row) => row[name])
  return [
    column('id'),
    column('at'),
    column('access_key_id'),
    column('action'),
    column('subject_id'),
    column('request_id'),
    column('details'),
    column('address'),
    column('outcome'),
    column('token_hash'),
  ]
}

export type AuditEventRow = {
  id: string
  at: Date
  access_key_id: string | null
  organization: string | null
  action: string
  subject_id: string | null
  request_id: string | null
  details: Record<string, unknown>
  address: string | null
  outcome: AuditOutcome
  token_hash: string | null
}

export type AuditFilter = {
  /** undefined = of all, and those that belong to none. */
  organizations: string[] | undefined
  subjectId: string | undefined
  accessKeyId: string | undefined
  action: string | undefined
  outcome: AuditOutcome | undefined
  /** From this time on, to before that. */
  from: Date | undefined
  to: Date | undefined
  before: TimeCursor | undefined
  limit: number
}

const conditionsOf = ({ subjectId, accessKeyId, action, outcome, from, to, before }: AuditFilter) =>
  sql.join(
    [
      sql`true`,
      ...(subjectId === undefined ? [] : [sql`subject_id = ${subjectId}`]),
      ...(accessKeyId === undefined ? [] : [sql`access_key_id = ${accessKeyId}::uuid`]),
      ...(action === undefined ? [] : [sql`action = ${action}`]),
      ...(outcome === undefined ? [] : [sql`outcome = ${outcome}`]),
      ...(from === undefined ? [] : [sql`at >= ${from}::timestamptz`]),
      ...(to === undefined ? [] : [sql`at < ${to}::timestamptz`]),
      ...(before === undefined ? [] : [sql`(at, id) < (${before.at}::timestamptz, ${before.id}::uuid)`]),
    ],
    sql` and `,
  )

/** The newest first. Each organization is read by its index, and then the newest of all are taken. */
export const listAuditEventsQuery = (filter: AuditFilter) => {
  const { organizations, limit } = filter
  const conditions = conditionsOf(filter)
  if (organizations === undefined)
    return sql<AuditEventRow>`
      select * from audit_events where ${conditions} order by at desc, id desc limit ${limit}`
  return sql<AuditEventRow>`
    select event.* from unnest(${organizations}::text[]) as asked (organization)
    cross join lateral (
      select * from audit_events where organization = asked.organization and ${conditions}
      order by at desc, id desc limit ${limit}
    ) as event
    order by event.at desc, event.id desc limit ${limit}`
}

export const listAuditEvents = async (db: Database, filter: AuditFilter): Promise<AuditEventRow[]> =>
  (await listAuditEventsQuery(filter).execute(db)).rows

/** What the record says of a token version: its hash, and the instance of its connection. Both outlive the connection. */
export const findTokenOrigin = async (
  db: Database,
  { connectionId, tokenVersion }: { connectionId: string; tokenVersion: number },
): Promise<{ tokenHash: string | undefined; instanceId: string | undefined }> => {
  const { rows } = await sql<{ tokenHash: string | null; instanceId: string | null }>`
    select
      (select token_hash from audit_events
        where subject_id = ${connectionId} and token_hash is not null
          and details->>'token_version' = ${String(tokenVersion)}
        order by at desc, id desc limit 1) as "tokenHash",
      (select details->>'instance_id' from audit_events
        where subject_id = ${connectionId} and details->>'instance_id' is not null
        order by at desc, id desc limit 1) as "instanceId"
  `.execute(db)
  return { tokenHash: rows[0]?.tokenHash ?? undefined, instanceId: rows[0]?.instanceId ?? undefined }
}
