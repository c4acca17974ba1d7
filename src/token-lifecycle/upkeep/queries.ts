import { sql } from 'kysely'
import { recordAuditEvents } from '../../audit/queries.ts'
import { addSeconds } from '../../clock/clock.ts'
import type { Database } from '../../db/database.ts'
import type { ConnectionRow } from '../../db/tables.ts'
import { WAITING_CODES } from '../../gitlab/owner-refusal.ts'
import { END_OF_EARLY_PAUSE, IS_REFRESHABLE } from '../queries.ts'
import { TOKEN_REACHED_ITS_END } from '../refresh-decision.ts'

export type ConnectionToMend = Pick<
  ConnectionRow,
  'id' | 'token_version' | 'instance_id' | 'oauth_app_id' | 'refused_since' | 'failure_count'
> & { refreshable: boolean }

const refreshable = sql.raw(IS_REFRESHABLE('connections'))
const endOfEarlyPause = sql.raw(END_OF_EARLY_PAUSE('connections', 'clock.now'))
/** A token that ends sooner is wanted soon: its refresh is no early one. */
const SOON_SECONDS = 300

/**
 * Connections whose last change went wrong and that are due for another try: a writer died, a refresh failed, or a
 * rotation has no clear answer. A token that still lives long is left alone for a while (END_OF_EARLY_PAUSE). Healthy
 * connections are left alone: their lookups refresh them when that disturbs nobody.
 */
export const findConnectionsToMend = async (
  db: Database,
  now: Date,
  limit: number,
): Promise<ConnectionToMend[]> => {
  const { rows } = await sql<ConnectionToMend>`
    select connections.id, token_version, instance_id, oauth_app_id, refused_since, failure_count,
      ${refreshable} as refreshable
    from connections, (select ${now}::timestamptz as now) as clock
    where status = 'active'
      and (attempt_id is not null or failing_since is not null)
      and (attempt_deadline is null or attempt_deadline <= clock.now)
      and (retry_after is null or retry_after <= clock.now)
      and (
        attempt_id is not null or unanswered_since is not null or retry_after is null or token_expires_at is null
        or token_expires_at <= clock.now + make_interval(secs => ${SOON_SECONDS})
        or ${endOfEarlyPause} <= clock.now
      )
    order by retry_after nulls first
    limit ${limit}
  `.execute(db)
  return rows
}

const SHORTEST_POSTPONEMENT_SECONDS = 60

/** Puts off another try by one to two minutes, each by its own time. */
export const postpone = async (db: Database, ids: string[], now: Date): Promise<void> => {
  if (ids.length === 0) return
  await db
    .updateTable('connections')
    .set({
      retry_after: sql`${now}::timestamptz + make_interval(secs => ${SHORTEST_POSTPONEMENT_SECONDS} * (1 + random()))`,
    })
    .where('id', 'in', ids)
    .where((where) => where.or([where('attempt_id', 'is', null), where('attempt_deadline', '<=', now)]))
    .execute()
}

/** A rotation that was not sent, such as while scanners hold leases, comes after those that were not tried. */
export const putOffRotation = async (db: Database, id: string, until: Date): Promise<void> => {
  await db
    .updateTable('connections')
    .set({ rotate_after: until, rotation_failures: sql`rotation_failures + 1` })
    .where('id', '=', id)
    .where((where) => where.or([where('rotate_after', 'is', null), where('rotate_after', '<', until)]))
    .execute()
}

/** Connections whose owner GitLab refused, and that are due for another look. */
export const findConnectionsToCheck = (db: Database, now: Date, limit: number): Promise<ConnectionToMend[]> =>
  db
    .selectFrom('connections')
    .select([
      'id',
      'token_version',
      'instance_id',
      'oauth_app_id',
      'refused_since',
      'failure_count',
      sql<boolean>`${refreshable}`.as('refreshable'),
    ])
    .where('status', '=', 'needs_reauthorization')
    .where('status_reason', 'in', [...WAITING_CODES])
    .where((where) => where.or([where('retry_after', 'is', null), where('retry_after', '<=', now)]))
    .where((where) => where.or([where('attempt_id', 'is', null), where('attempt_deadline', '<=', now)]))
    .orderBy('retry_after', (order) => order.asc().nullsFirst())
    .limit(limit)
    .execute()

/** @returns how many tokens that cannot be refreshed have reached their end. */
export const markExpired = (db: Database, now: Date): Promise<number> =>
  db.transaction().execute(async (transaction) => {
    const expired = await transaction
      .updateTable('connections')
      .set({
        status: 'expired',
        status_reason: 'token_expired',
        status_detail: TOKEN_REACHED_ITS_END,
        updated_at: now,
      })
      .where('status', '=', 'active')
      .where(sql<boolean>`not ${refreshable}`)
      .where('attempt_id', 'is', null)
      .where('token_expires_at', '<=', now)
      .returning(['id', 'organization'])
      .execute()
    const details = { status: 'expired', reason: 'token_expired' }
    await recordAuditEvents(
      transaction,
      expired.map(({ id, organization }) => ({
        at: now,
        action: 'connection.failed',
        outcome: 'failed',
        organization,
        subjectId: id,
        details,
      })),
    )
    return expired.length
  })

/**
 * Access tokens that are to be rotated by themselves and end within `withinSeconds`. A token whose whole life is
 * shorter than that is due at half its life: otherwise each run would rotate it again. One that could not be rotated is
 * due again by its own time.
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
    .where((where) => where.or([where('rotate_after', 'is', null), where('rotate_after', '<=', now)]))
    .where('token_expires_at', '<=', addSeconds(now, withinSeconds))
    .where(sql<boolean>`token_expires_at - ${now}::timestamptz <= (token_expires_at - token_issued_at) / 2`)
    // Who was never refused comes first: those that GitLab refuses again and again starve nobody.
    .orderBy('rotation_failures')
    .orderBy('token_expires_at')
    .limit(limit)
    .execute()

/**
 * Connections of whose groups or projects the names are to be looked at, the longest due first, and whose token works
 * now: none is refreshed for that.
 */
export const findConnectionsToLookAt = async (db: Database, now: Date, limit: number): Promise<string[]> => {
  const rows = await db
    .selectFrom('connection_places as place')
    .innerJoin('connections', 'connections.id', 'place.connection_id')
    .select('connections.id')
    .where('place.is_former', '=', false)
    .where(sql<boolean>`place.kind is distinct from 'instance'`)
    .where('place.look_due_at', '<=', now)
    .where('connections.status', '=', 'active')
    .where('failing_since', 'is', null)
    .where('attempt_id', 'is', null)
    .where((where) => where.or([where('token_expires_at', 'is', null), where('token_expires_at', '>', now)]))
    .orderBy('place.look_due_at')
    .orderBy('place.connection_id')
    .limit(limit)
    .execute()
  return [...new Set(rows.map(({ id }) => id))]
}
