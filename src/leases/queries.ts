import { sql } from 'kysely'
import { SERVICE_ID } from '../callers/principal.ts'
import type { Database, PreparedStatement, RunPrepared } from '../db/database.ts'
import type { LeaseTableRow } from '../db/tables.ts'
import { type Heartbeat, IS_AS_NEW } from '../token-lifecycle/history/queries.ts'
import {
  type ConnectionWithInstance,
  END_OF_EARLY_PAUSE,
  IS_REFRESHABLE,
  withInstance,
} from '../token-lifecycle/queries.ts'
import type { LeaseHolder, LeaseRequest, LeaseRow } from './lease.ts'
import { CLOCK_SLACK_SECONDS } from './serving-decision.ts'

/** In these fragments $1 is the time. */
export const IS_LEASED = (connection: string) => `exists (
  select from leases
  where leases.connection_id = ${connection}.id and leases.released_at is null
    and leases.expires_at > $1::timestamptz and leases.token_version = ${connection}.token_version
    and leases.access_key_id <> '${SERVICE_ID}'
)`

/** Whether a connection exists for an access key. */
export const MAY_USE = (connection: string) => `(
  (${connection}.organization = any (access_keys.organizations) or '*' = any (access_keys.organizations))
  and (access_keys.restricted_connections is null or ${connection}.id = any (access_keys.restricted_connections))
)`

/** Named once more for the planner, who would read all keys for a list of unknown length. */
export const HAS_ID = 'access_keys.id = any ($5::uuid[])'
export const KEY_IS_VALID = '(access_keys.expires_at is null or access_keys.expires_at > $1::timestamptz)'

/** A time as a number: writing it as text and reading the text would cost more than the rest of the column. */
const MILLISECONDS = (time: string) => `date_part('epoch', ${time}) * 1000`

/** Parameters $4 to $10, one array for each field of a LeaseRequest. */
export const REQUEST_PARAMETERS =
  '$4::uuid[], $5::uuid[], $6::float8[], $7::float8[], $8::boolean[], $9::text[], $10::text[]'
export const REQUEST_COLUMNS =
  'lease_id, access_key_id, min_remaining, lease_seconds, past_half_life, purpose, subject'

export type LeaseStatement = {
  name: string
  /**
   * Common table expressions, the last of which is `request`: REQUEST_COLUMNS and the `connection_id` that each is
   * about. Its parameters begin at $11.
   */
  request: string
  /** The array of the connection ids. */
  connectionIds: string
  /** A condition beside those of `judge` (serving-decision.ts). */
  condition?: string
  /** What is answered beside, of `request`. */
  columns?: string[]
}

/** $2 and $3: what the database has to have of this node. */
const IS_NEW_ENOUGH = IS_AS_NEW('$2', '$3')

/**
 * The one statement that hands out tokens: reads the connections of `request`, inserts the leases, and answers the
 * ciphertexts of what was leased.
 *
 * - The row locks keep a refresh from being claimed between the check and the lease: a claim locks `for update`, and
 *   counts the leases after it has the lock.
 * - A request has no row in the answer when its access key is deleted, expired or read-only, when there is no such
 *   connection, or when the connection is outside the key's organizations and restrictions.
 * - A request for a connection that is locked has no row either. A statement that waited for the lock would hold up all
 *   lookups that share it, and would judge by a time and keys from before the wait.
 */
export const leaseStatement = ({
  name,
  request,
  connectionIds,
  condition = 'true',
  columns = [],
}: LeaseStatement): PreparedStatement => ({
  name,
  text: `
  with ${request}, connection as (
    select id, organization, instance_id, token_kind, token_version, access_token, scopes, status, status_reason,
      status_detail, token_issued_at, token_expires_at, attempt_id, attempt_deadline, unanswered_since, retry_after,
      ${IS_REFRESHABLE('connections')} as refreshable
    from connections
    where id = any (${connectionIds})
    for share skip locked
  ), found as (
    select request.lease_id, request.purpose, request.subject, request.access_key_id, ${columns.map((column) => `request.${column}, `).join('')}connection.*,
      least($1::timestamptz + make_interval(secs => request.lease_seconds), connection.token_expires_at) as lease_until,
      ${condition}
        and ${IS_NEW_ENOUGH}
        and connection.status = 'active'
        and connection.attempt_id is null
        and connection.unanswered_since is null
        and (
          connection.token_expires_at is null
          or least(connection.token_expires_at - $1::timestamptz, connection.token_expires_at - connection.token_issued_at)
            > make_interval(secs => request.min_remaining)
        )
        and (
          not connection.refreshable
          or connection.token_expires_at is null
          or connection.token_issued_at <= $1::timestamptz + make_interval(secs => ${CLOCK_SLACK_SECONDS})
        )
        and (
          request.past_half_life
          or not connection.refreshable
          or connection.token_expires_at is null
          or ${END_OF_EARLY_PAUSE('connection', '$1::timestamptz')} > $1::timestamptz
          or connection.token_expires_at - $1::timestamptz > (connection.token_expires_at - connection.token_issued_at) / 2
          or ${IS_LEASED('connection')}
        ) as leased
    from request
    join access_keys on access_keys.id = request.access_key_id and ${HAS_ID} and ${KEY_IS_VALID} and not access_keys.read_only
    join connection on connection.id = request.connection_id and ${MAY_USE('connection')}
  ), lease as (
    insert into leases
      (id, connection_id, organization, token_version, access_key_id, subject, purpose, granted_at, expires_at)
    select lease_id, id, organization, token_version, access_key_id, subject, purpose, $1::timestamptz, lease_until
    from found where leased
  )
  select found.lease_id, found.id as connection_id, ${columns.map((column) => `found.${column}, `).join('')}found.organization, instances.base_url, found.token_kind,
    found.token_version, coalesce(array_to_string(found.scopes, ' '), '') as scopes,
    ${MILLISECONDS('found.token_expires_at')} as token_expires_at,
    case when found.leased then found.access_token end as access_token,
    case when found.leased is not true then jsonb_build_object(
      'status', found.status, 'status_reason', found.status_reason, 'status_detail', found.status_detail,
      'token_issued_at', ${MILLISECONDS('found.token_issued_at')},
      'attempt_id', found.attempt_id, 'attempt_deadline', ${MILLISECONDS('found.attempt_deadline')},
      'unanswered_since', ${MILLISECONDS('found.unanswered_since')},
      'retry_after', ${MILLISECONDS('found.retry_after')}, 'refreshable', found.refreshable,
      'leased', ${IS_LEASED('found')}, 'database_went_back', not ${IS_NEW_ENOUGH}
    ) end as refused
  from found join instances on instances.id = found.instance_id`,
})

type RawLeaseRow = Record<string, unknown> & {
  scopes: string
  token_expires_at: number | null
  refused: Record<string, unknown> | null
}

const toDate = (milliseconds: unknown): Date | null =>
  typeof milliseconds === 'number' ? new Date(Math.round(milliseconds)) : null

const toLeaseRow = (raw: RawLeaseRow): LeaseRow => {
  const { scopes, token_expires_at, refused } = raw
  return Object.assign(raw, {
    scopes: scopes === '' ? [] : scopes.split(' '),
    token_expires_at: toDate(token_expires_at),
    refused: refused && {
      ...refused,
      token_issued_at: toDate(refused.token_issued_at),
      attempt_deadline: toDate(refused.attempt_deadline),
      unanswered_since: toDate(refused.unanswered_since),
      retry_after: toDate(refused.retry_after),
    },
  }) as unknown as LeaseRow
}

/** An array as text, for values that need no quotes: pg would quote each element. */
export const arrayOf = (values: (string | number | boolean)[]): string => `{${values.join(',')}}`

/** Shorter arrays are filled up with null (unnest): where no request has a subject, there is none to send. */
const subjectsOf = (requests: LeaseRequest[]): (string | null)[] =>
  requests.some(({ subject }) => subject !== null) ? requests.map(({ subject }) => subject) : []

/**
 * @param values from $11 on.
 * @param known what the database has to have of this node; undefined = nothing is known yet.
 */
export const runLeaseStatement = async <Row extends LeaseRow = LeaseRow>(
  run: RunPrepared,
  statement: PreparedStatement,
  requests: LeaseRequest[],
  values: unknown[],
  now: Date,
  known: Heartbeat | undefined,
): Promise<Row[]> => {
  const rows = await run<RawLeaseRow>(statement, [
    now,
    known?.nodeId ?? null,
    known?.beat ?? null,
    arrayOf(requests.map(({ leaseId }) => leaseId)),
    arrayOf(requests.map(({ accessKeyId }) => accessKeyId)),
    arrayOf(requests.map(({ minRemaining }) => minRemaining)),
    arrayOf(requests.map(({ leaseSeconds }) => leaseSeconds)),
    arrayOf(requests.map(({ acceptPastHalfLife }) => acceptPastHalfLife)),
    requests.map(({ purpose }) => purpose),
    subjectsOf(requests),
    ...values,
  ])
  return rows.map(toLeaseRow) as Row[]
}

export type LeaseByIdRequest = LeaseRequest & { connectionId: string }

const LEASE_BY_ID = leaseStatement({
  name: 'lease-by-id',
  request: `request as (
    select * from unnest(${REQUEST_PARAMETERS}, $11::uuid[]) as request (${REQUEST_COLUMNS}, connection_id)
  )`,
  connectionIds: '$11::uuid[]',
})

export const leaseById = (
  run: RunPrepared,
  requests: LeaseByIdRequest[],
  now: Date,
  known?: Heartbeat,
): Promise<LeaseRow[]> =>
  runLeaseStatement(
    run,
    LEASE_BY_ID,
    requests,
    [arrayOf(requests.map(({ connectionId }) => connectionId))],
    now,
    known,
  )

const IS_VISIBLE: PreparedStatement = {
  name: 'is-visible',
  text: `
  select true as is_visible from connections
  join access_keys on access_keys.id = $2::uuid and ${KEY_IS_VALID} and ${MAY_USE('connections')}
    and not access_keys.read_only
  where connections.id = $3::uuid`,
}

/** Whether this access key may see such a connection, locked or not. */
export const isVisible = async (
  run: RunPrepared,
  { connectionId, accessKeyId }: Pick<LeaseByIdRequest, 'connectionId' | 'accessKeyId'>,
  now: Date,
): Promise<boolean> => (await run(IS_VISIBLE, [now, accessKeyId, connectionId])).length > 0

/** A lease as it was written. */
export type GivenLease = LeaseTableRow

export const findLease = (db: Database, id: string): Promise<GivenLease | undefined> =>
  db.selectFrom('leases').selectAll().where('id', '=', id).executeTakeFirst()

/** @param holder undefined = of anybody. @returns the ids of those that are released now: the others do not exist. */
export const releaseLeases = async (
  db: Database,
  {
    ids,
    holder,
    organizations,
    now,
  }: { ids: string[]; holder: LeaseHolder | undefined; organizations: string[] | undefined; now: Date },
): Promise<string[]> => {
  let query = db
    .updateTable('leases')
    .set({ released_at: sql`coalesce(released_at, ${now}::timestamptz)` })
    .where('id', 'in', ids)
  if (holder) {
    query = query
      .where('access_key_id', '=', holder.accessKeyId)
      .where('subject', 'is not distinct from', holder.subject)
  }
  if (organizations) query = query.where('organization', 'in', organizations)
  const rows = await query.returning('id').execute()
  return rows.map(({ id }) => id)
}

/** Reads a connection and keeps it from being claimed until the transaction ends. */
export const shareConnection = (
  transaction: Database,
  id: string,
): Promise<ConnectionWithInstance | undefined> =>
  withInstance(transaction).where('connections.id', '=', id).forShare('connections').executeTakeFirst()

/** Prolongs a lease that is not released. Whoever calls holds the row of the connection: no refresh is claimed meanwhile. */
export const prolongLease = async (
  db: Database,
  { id, until }: { id: string; until: Date },
): Promise<boolean> => {
  const { numUpdatedRows } = await db
    .updateTable('leases')
    .set({ expires_at: sql`greatest(expires_at, ${until}::timestamptz)` })
    .where('id', '=', id)
    .where('released_at', 'is', null)
    .executeTakeFirstOrThrow()
  return numUpdatedRows > 0n
}

/** Marks a lease as rejected: nobody counts on a token that GitLab refused, so the lease no longer delays a refresh. */
export const markLeaseRejected = async (db: Database, id: string, now: Date): Promise<void> => {
  await db
    .updateTable('leases')
    .set({ rejected_at: now, released_at: sql`coalesce(released_at, ${now}::timestamptz)` })
    .where('id', '=', id)
    .execute()
}
