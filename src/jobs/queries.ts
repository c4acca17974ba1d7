import { sql } from 'kysely'
import type { Database } from '../db/database.ts'

export type DueConnection = { id: string; token_version: number; refreshable: boolean }

/**
 * Connections whose last change went wrong and that are due for another try: a writer died, a refresh failed, or a
 * rotation has no clear answer. Healthy ones are left alone: their lookups refresh them when it is free.
 */
export const findConnectionsToMend = async (
  db: Database,
  now: Date,
  limit: number,
): Promise<DueConnection[]> => {
  const { rows } = await sql<DueConnection>`
    select id, token_version, refresh_token is not null and oauth_app_id is not null as refreshable
    from connections
    where status = 'active'
      and (attempt_id is not null or failing_since is not null)
      and (attempt_deadline is null or attempt_deadline <= ${now}::timestamptz)
      and (retry_after is null or retry_after <= ${now}::timestamptz)
    order by retry_after nulls first
    limit ${limit}
  `.execute(db)
  return rows
}

/** @returns how many tokens that nobody can refresh have reached their end. */
export const markExpired = async (db: Database, now: Date): Promise<number> => {
  const { numUpdatedRows } = await db
    .updateTable('connections')
    .set({
      status: 'expired',
      status_reason: 'token_expired',
      status_detail: 'The token has reached its end. Replace it by a new one.',
      updated_at: now,
    })
    .where('status', '=', 'active')
    .where('refresh_token', 'is', null)
    .where('attempt_id', 'is', null)
    .where('token_expires_at', '<=', now)
    .executeTakeFirstOrThrow()
  return Number(numUpdatedRows)
}

/**
 * Access tokens that are to be rotated by themselves and end within `withinSeconds`. One that lives no longer than
 * that at all is due at half its life: otherwise each run would rotate it again.
 */
export const findConnectionsToRotate = (
  db: Database,
  { now, withinSeconds, limit }: { now: Date; withinSeconds: number; limit: number },
): Promise<{ id: string }[]> =>
  db
    .selectFrom('connections')
    .select('id')
    .where('status', '=', 'active')
    .where('auto_rotate', '=', true)
    .where('method', '=', 'token')
    .where('unanswered_since', 'is', null)
    .where(
      sql<boolean>`token_expires_at - ${now}::timestamptz <=
        least(make_interval(secs => ${withinSeconds}), (token_expires_at - token_issued_at) / 2)`,
    )
    .orderBy('token_expires_at')
    .limit(limit)
    .execute()

export type PendingGrant = { id: string }

/** Grants that GitLab issued and that no connection has yet: GitLab did not answer when it was asked whose they are. */
export const findPendingGrants = (db: Database, before: Date, limit: number): Promise<PendingGrant[]> =>
  db
    .selectFrom('authorization_requests')
    .select('id')
    .where('grant_jwe', 'is not', null)
    .where('granted_at', '<=', before)
    .orderBy('granted_at')
    .limit(limit)
    .execute()

const firstIdAt = (time: Date): string => {
  const hex = time.getTime().toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000000`
}

/** One statement stays far below the time limit, however many leases are old. */
const LEASES_AT_ONCE = 10_000

/** Ids begin with the time of the grant (UUIDv7): the primary key finds the old ones. */
const deleteLeases = async (db: Database, before: string): Promise<number> => {
  const oldest = db
    .selectFrom('leases')
    .select('id')
    .where('id', '<', before)
    .orderBy('id')
    .limit(LEASES_AT_ONCE)
  let total = 0
  for (;;) {
    const { numDeletedRows } = await db
      .deleteFrom('leases')
      .where('id', 'in', oldest)
      .executeTakeFirstOrThrow()
    total += Number(numDeletedRows)
    if (numDeletedRows < LEASES_AT_ONCE) return total
  }
}

/** @returns how many rows went. */
export const deleteOld = async (
  db: Database,
  { leasesBefore, sessionsBefore }: { leasesBefore: Date; sessionsBefore: Date },
): Promise<number> => {
  const leases = await deleteLeases(db, firstIdAt(leasesBefore))
  const sessions = await db
    .deleteFrom('connect_sessions')
    .where('expires_at', '<', sessionsBefore)
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('authorization_requests')
            .select('id')
            .whereRef('connect_session_id', '=', 'connect_sessions.id')
            .where('grant_jwe', 'is not', null),
        ),
      ),
    )
    .executeTakeFirst()
  return leases + Number(sessions.numDeletedRows)
}
