import { sql } from 'kysely'
import type { Database } from '../db/database.ts'
import type { ConnectionStatus, TokenKind } from '../db/tables.ts'

/** One wish for a token, by connection id. */
export type GrantRequest = {
  leaseId: string
  connectionId: string
  accessKeyId: string
  /** The token must live at least this long. */
  minRemaining: number
  leaseSeconds: number
  acceptPastHalfLife: boolean
  purpose: string | null
}

/** The connection as the statement found it, and whether it granted the lease. */
export type GrantRow = {
  lease_id: string
  /** Set when the lease is in the table. */
  granted_until: Date | null
  connection_id: string
  organization: string
  base_url: string
  token_kind: TokenKind
  token_version: number
  /** null unless granted: a secret leaves the database only together with its lease. */
  access_token: string | null
  scopes: string[]
  status: ConnectionStatus
  status_reason: string | null
  status_detail: string | null
  token_issued_at: Date
  token_expires_at: Date | null
  attempt_id: string | null
  attempt_deadline: Date | null
  unanswered_since: Date | null
  retry_after: Date | null
  refreshable: boolean
}

/**
 * Reads many connections and grants their leases in one statement. The row locks keep a refresh from being claimed
 * between the check and the lease: a claim locks `for update`, and counts the leases after it has the lock.
 * A request of a deleted or expired access key, for an unknown connection or one outside the key's organizations has
 * no row in the answer.
 */
export const grantLeases = async (db: Database, requests: GrantRequest[], now: Date): Promise<GrantRow[]> => {
  const column = <Key extends keyof GrantRequest>(key: Key) => requests.map((request) => request[key])
  const { rows } = await sql<GrantRow>`
    with request as (
      select * from unnest(
        ${column('leaseId')}::uuid[], ${column('connectionId')}::uuid[], ${column('accessKeyId')}::uuid[],
        ${column('minRemaining')}::float8[], ${column('leaseSeconds')}::float8[],
        ${column('acceptPastHalfLife')}::boolean[], ${column('purpose')}::text[]
      ) as request (lease_id, connection_id, access_key_id, min_remaining, lease_seconds, past_half_life, purpose)
    ), connection as (
      select * from connections where id in (select connection_id from request) for share
    ), found as (
      select request.lease_id, request.purpose, request.access_key_id, connection.*,
        connection.refresh_token is not null and connection.oauth_app_id is not null as refreshable,
        least(${now}::timestamptz + make_interval(secs => request.lease_seconds), connection.token_expires_at) as lease_until,
        connection.status = 'active'
          and connection.attempt_id is null
          and connection.unanswered_since is null
          and (
            connection.token_expires_at is null
            or connection.token_expires_at > ${now}::timestamptz + make_interval(secs => request.min_remaining)
          )
          and (
            request.past_half_life
            or connection.refresh_token is null
            or connection.token_expires_at is null
            or connection.retry_after > ${now}::timestamptz
            or connection.token_expires_at - ${now}::timestamptz > (connection.token_expires_at - connection.token_issued_at) / 2
            or exists (
              select from leases
              where leases.connection_id = connection.id and leases.released_at is null
                and leases.expires_at > ${now}::timestamptz and leases.token_version = connection.token_version
            )
          ) as granted
      from request
      join access_keys on access_keys.id = request.access_key_id
        and (access_keys.expires_at is null or access_keys.expires_at > ${now}::timestamptz)
      join connection on connection.id = request.connection_id
        and (connection.organization = any (access_keys.organizations) or '*' = any (access_keys.organizations))
    ), lease as (
      insert into leases (id, connection_id, organization, token_version, access_key_id, purpose, granted_at, expires_at)
      select lease_id, id, organization, token_version, access_key_id, purpose, ${now}::timestamptz, lease_until
      from found where granted
      returning id
    )
    select found.lease_id, case when lease.id is null then null else found.lease_until end as granted_until,
      found.id as connection_id, found.organization, instances.base_url, found.token_kind, found.token_version,
      case when lease.id is null then null else found.access_token end as access_token,
      found.scopes, found.status, found.status_reason, found.status_detail, found.token_issued_at,
      found.token_expires_at, found.attempt_id, found.attempt_deadline, found.unanswered_since, found.retry_after, found.refreshable
    from found
    join instances on instances.id = found.instance_id
    left join lease on lease.id = found.lease_id
  `.execute(db)
  return rows
}

export type CandidateRow = {
  id: string
  organization: string
  base_url: string
  group_path: string
  name: string | null
  status: ConnectionStatus
  status_detail: string | null
  refreshable: boolean
  attempt_id: string | null
  unanswered_since: Date | null
  token_expires_at: Date | null
  leased: boolean
  last_verified_at: Date | null
}

export type CandidateQuery = {
  accessKeyId: string
  organization: string | undefined
  /** Pairs of base URL and covering group path: everything that could cover the URL. */
  places: { baseUrl: string; groupPath: string }[]
  now: Date
}

/** Every connection within the key's organizations that covers one of the places, whatever its status. */
export const findCandidates = async (db: Database, query: CandidateQuery): Promise<CandidateRow[]> => {
  const { rows } = await sql<CandidateRow>`
    select connections.id, connections.organization, instances.base_url, connections.group_path, connections.name,
      connections.status, connections.status_detail,
      connections.refresh_token is not null and connections.oauth_app_id is not null as refreshable,
      connections.attempt_id, connections.unanswered_since, connections.token_expires_at, connections.last_verified_at,
      exists (
        select from leases
        where leases.connection_id = connections.id and leases.released_at is null
          and leases.expires_at > ${query.now}::timestamptz and leases.token_version = connections.token_version
      ) as leased
    from unnest(
      ${query.places.map(({ baseUrl }) => baseUrl)}::text[], ${query.places.map(({ groupPath }) => groupPath)}::text[]
    ) as place (base_url, group_path)
    join instances on instances.base_url = place.base_url
    join access_keys on access_keys.id = ${query.accessKeyId}::uuid
      and (access_keys.expires_at is null or access_keys.expires_at > ${query.now}::timestamptz)
    join connections on connections.instance_id = instances.id and connections.group_path = place.group_path
      and (connections.organization = any (access_keys.organizations) or '*' = any (access_keys.organizations))
      and (${query.organization ?? null}::text is null or connections.organization = ${query.organization ?? null}::text)
    limit 1000
  `.execute(db)
  return rows
}

/** @param accessKeyId undefined = whoever it was granted to. @returns false when there is no such lease. */
export const releaseLease = async (
  db: Database,
  {
    id,
    accessKeyId,
    organizations,
    now,
  }: { id: string; accessKeyId: string | undefined; organizations: string[] | undefined; now: Date },
): Promise<boolean> => {
  let query = db
    .updateTable('leases')
    .set({ released_at: sql`coalesce(released_at, ${now}::timestamptz)` })
    .where('id', '=', id)
  if (accessKeyId) query = query.where('access_key_id', '=', accessKeyId)
  if (organizations) query = query.where('organization', 'in', organizations)
  return (await query.executeTakeFirstOrThrow()).numUpdatedRows > 0n
}

/** A lease as it was granted. */
export type GrantedLease = {
  id: string
  connection_id: string
  organization: string
  access_key_id: string
  token_version: number
}

export const findLease = (db: Database, id: string): Promise<GrantedLease | undefined> =>
  db
    .selectFrom('leases')
    .select(['id', 'connection_id', 'organization', 'access_key_id', 'token_version'])
    .where('id', '=', id)
    .executeTakeFirst()

/** Nobody counts on a token that GitLab refused: the lease no longer stands in the way of a refresh. */
export const markLeaseRejected = async (db: Database, id: string, now: Date): Promise<void> => {
  await db
    .updateTable('leases')
    .set({ rejected_at: now, released_at: sql`coalesce(released_at, ${now}::timestamptz)` })
    .where('id', '=', id)
    .execute()
}
