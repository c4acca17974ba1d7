import { sql } from 'kysely'
import type { Database } from '../../db/database.ts'
import type { AuditSealRow } from '../../db/tables.ts'
import { type AuditEventRow, recordAuditEvent } from '../queries.ts'
import type { CanonicalEvent, SealContent } from './seal.ts'

/** Every column as the database writes it: jsonb sorts its members, a time has all its digits. */
const CANONICAL = sql<string>`jsonb_build_array(
  id, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), access_key_id, organization, action, subject_id,
  request_id, details, address, outcome, token_hash
)::text`

export const readDatabaseTime = async (db: Database): Promise<Date> => {
  const { rows } = await sql<{ now: Date }>`select clock_timestamp() as now`.execute(db)
  return rows[0]!.now
}

export const findNewestSeal = (db: Database): Promise<AuditSealRow | undefined> =>
  db.selectFrom('audit_seals').selectAll().orderBy('id', 'desc').limit(1).executeTakeFirst()

/** undefined when no leases were covered yet. */
export const findNewestLeaseHour = async (db: Database): Promise<Date | undefined> => {
  const { rows } = await sql<{ hour: Date | null }>`
    select max(lease_hour) as hour from audit_seals where lease_hour is not null`.execute(db)
  return rows[0]?.hour ?? undefined
}

export type UnsealedEvent = CanonicalEvent & { row: AuditEventRow }

/** The events that wait for a seal since before a time, by id. */
export const findUnsealed = async (
  db: Database,
  queuedBefore: Date,
  limit: number,
): Promise<UnsealedEvent[]> => {
  const { rows } = await sql<AuditEventRow & { text: string }>`
    select audit_events.*, ${CANONICAL} as text
    from audit_unsealed join audit_events on audit_events.id = audit_unsealed.event_id
    where queued_at < ${queuedBefore}::timestamptz
    order by id limit ${limit}
  `.execute(db)
  return rows.map(({ text, ...row }) => ({ id: row.id, text, row }))
}

/** Another replica sealed the same events first. */
export class AlreadySealedError extends Error {
  constructor() {
    super('The events of a seal are in another one already')
    this.name = 'AlreadySealedError'
  }
}

/**
 * Adds a seal and takes its events from those that wait, or does neither.
 * @throws {AlreadySealedError} when one of its events waits no longer; a unique violation when there is such a seal.
 */
export const insertSeal = (
  db: Database,
  { id, at, events, leases, previous }: SealContent,
  { sha256, mac }: { sha256: string; mac: string },
): Promise<void> =>
  db.transaction().execute(async (transaction) => {
    const ids = events.map((event) => event.id)
    await transaction
      .insertInto('audit_seals')
      .values({
        id: String(id),
        at,
        first_event: ids[0] ?? null,
        last_event: ids.at(-1) ?? null,
        event_count: ids.length,
        events: ids,
        event_hashes: events.map((event) => event.sha256),
        lease_hour: leases?.hour ?? null,
        lease_count: leases === undefined ? null : String(leases.count),
        lease_sha256: leases?.sha256 ?? null,
        previous_sha256: previous,
        sha256,
        mac,
      })
      .execute()
    if (ids.length === 0) return
    const { numDeletedRows } = await transaction
      .deleteFrom('audit_unsealed')
      .where('event_id', 'in', ids)
      .executeTakeFirstOrThrow()
    if (Number(numDeletedRows) !== ids.length) throw new AlreadySealedError()
  })

/** In order. */
export const listSeals = (db: Database, after: string, limit: number): Promise<AuditSealRow[]> =>
  db.selectFrom('audit_seals').selectAll().where('id', '>', after).orderBy('id').limit(limit).execute()

export const findCanonicalEvents = async (db: Database, ids: string[]): Promise<CanonicalEvent[]> => {
  const { rows } = await sql<CanonicalEvent>`
    select id, ${CANONICAL} as text from audit_events where id = any (${ids}::uuid[])`.execute(db)
  return rows
}

/** Events that no seal names and that do not wait for one either, the first ones. */
export const findStrayEvents = async (db: Database, limit: number): Promise<{ id: string; at: Date }[]> => {
  const { rows } = await sql<{ id: string; at: Date }>`
    select id, at from audit_events
    left join audit_unsealed on event_id = id
    left join (select unnest(events) as sealed_id from audit_seals) as sealed on sealed_id = id
    where event_id is null and sealed_id is null
    order by id limit ${limit}
  `.execute(db)
  return rows
}

/** Events that wait for a seal and are gone. */
export const findVanishedEvents = async (db: Database, limit: number): Promise<string[]> => {
  const { rows } = await sql<{ id: string }>`
    select event_id as id from audit_unsealed
    where not exists (select from audit_events where id = event_id)
    order by event_id limit ${limit}
  `.execute(db)
  return rows.map(({ id }) => id)
}

export const countUnsealed = async (db: Database): Promise<{ count: number; since: Date | null }> => {
  const { rows } = await sql<{ count: number; since: Date | null }>`
    select count(*)::float8 as count, min(queued_at) as since from audit_unsealed`.execute(db)
  return rows[0] ?? { count: 0, since: null }
}

/**
 * What retention has declared: the last seal that it deleted, and the end of the old leases. Nothing younger than a day is
 * ever old: a declaration that says so was not made by retention.
 */
export const findDeclaredDeletions = async (
  db: Database,
): Promise<{ lastSeal: number | null; leasesBefore: Date | null }> => {
  const { rows } = await sql<{ lastSeal: number | null; leasesBefore: Date | null }>`
    select max((details->>'last_seal')::float8) filter (where action = 'audit.deleted_old') as "lastSeal",
      max((details->>'before')::timestamptz) filter (
        where action = 'leases.deleted_old' and (details->>'before')::timestamptz <= at - interval '1 day'
      ) as "leasesBefore"
    from audit_events where action in ('audit.deleted_old', 'leases.deleted_old')
  `.execute(db)
  return rows[0] ?? { lastSeal: null, leasesBefore: null }
}

/** Whole seals, with their events, and the record of it. @returns how many events went; undefined = nothing is old. */
export const deleteSealsBefore = (
  db: Database,
  { before, mostSeals, now }: { before: Date; mostSeals: number; now: Date },
): Promise<number | undefined> =>
  db.transaction().execute(async (transaction) => {
    const { rows } = await sql<{ last_seal: number; events: number }>`
      select last_seal::float8 as last_seal, events::float8 as events
      from delete_audit_before(${before}::timestamptz, ${mostSeals})
    `.execute(transaction)
    const [deleted] = rows
    if (!deleted) return undefined
    await recordAuditEvent(transaction, {
      at: now,
      action: 'audit.deleted_old',
      details: { before: before.toISOString(), last_seal: deleted.last_seal, events: deleted.events },
    })
    return deleted.events
  })
