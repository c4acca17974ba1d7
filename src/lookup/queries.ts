import { sql } from 'kysely'
import type { Database, PreparedStatement, RunPrepared } from '../db/database.ts'
import type { ConnectionStatus, TokenKind } from '../db/tables.ts'
import { depthOf } from './url-match.ts'

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

/** One wish for a token by URL: the places are the pairs of base URL and group that could cover it. */
export type UrlGrantRequest = Omit<GrantRequest, 'connectionId'> & {
  organization: string | null
  places: Place[]
}

export type Place = {
  baseUrl: string
  /** The base URL stands for an instance on any port of its host. */
  anyPort: boolean
  groupPath: string
}

/** A token that cannot be refreshed is of use until its end; every other one can be renewed. */
const IS_SERVABLE = `connections.status = 'active' and (
  (connections.refresh_token is not null and connections.oauth_app_id is not null)
  or connections.token_expires_at is null or connections.token_expires_at > $1::timestamptz
)`

const IS_LEASED = (connection: string) => `exists (
  select from leases
  where leases.connection_id = ${connection}.id and leases.released_at is null
    and leases.expires_at > $1::timestamptz and leases.token_version = ${connection}.token_version
)`

const IS_AT_PLACE = `(
  instances.base_url = place.base_url
  or (place.any_port and regexp_replace(instances.base_url, '^(https?://[^/]+?):[0-9]+', '\\1') = place.base_url)
)`

const MAY_USE = (organization: string) =>
  `(${organization} = any (access_keys.organizations) or '*' = any (access_keys.organizations))`

const KEY_IS_VALID = '(access_keys.expires_at is null or access_keys.expires_at > $1::timestamptz)'

/**
 * Reads the connections of `request` and grants their leases in one statement. The row locks keep a refresh from
 * being claimed between the check and the lease: a claim locks `for update`, and counts the leases after it has the
 * lock. A request of a deleted or expired access key, for an unknown connection or one outside the key's
 * organizations has no row in the answer.
 */
const GRANT = `
  connection as (
    select id, organization, instance_id, token_kind, token_version, access_token, scopes, status, status_reason,
      status_detail, token_issued_at, token_expires_at, attempt_id, attempt_deadline, unanswered_since, retry_after,
      refresh_token is not null and oauth_app_id is not null as refreshable
    from connections
    where id = any (array(select connection_id from request))
    for share
  ), found as (
    select request.lease_id, request.purpose, request.access_key_id, connection.*,
      least($1::timestamptz + make_interval(secs => request.lease_seconds), connection.token_expires_at) as lease_until,
      connection.status = 'active'
        and connection.attempt_id is null
        and connection.unanswered_since is null
        and (
          connection.token_expires_at is null
          or connection.token_expires_at > $1::timestamptz + make_interval(secs => request.min_remaining)
        )
        and (
          request.past_half_life
          or not connection.refreshable
          or connection.token_expires_at is null
          or connection.retry_after > $1::timestamptz
          or connection.token_expires_at - $1::timestamptz > (connection.token_expires_at - connection.token_issued_at) / 2
          or ${IS_LEASED('connection')}
        ) as granted
    from request
    join access_keys on access_keys.id = request.access_key_id and ${KEY_IS_VALID}
    join connection on connection.id = request.connection_id and ${MAY_USE('connection.organization')}
  ), lease as (
    insert into leases (id, connection_id, organization, token_version, access_key_id, purpose, granted_at, expires_at)
    select lease_id, id, organization, token_version, access_key_id, purpose, $1::timestamptz, lease_until
    from found where granted
  )
  select found.lease_id, case when found.granted then found.lease_until end as granted_until,
    found.id as connection_id, found.organization, instances.base_url, found.token_kind, found.token_version,
    case when found.granted then found.access_token end as access_token, found.scopes, found.status,
    found.status_reason, found.status_detail, found.token_issued_at, found.token_expires_at, found.attempt_id,
    found.attempt_deadline, found.unanswered_since, found.retry_after, found.refreshable
  from found
  join instances on instances.id = found.instance_id`

const GRANT_BY_ID: PreparedStatement = {
  name: 'grant-by-id',
  text: `
  with request as (
    select * from unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::float8[], $6::float8[], $7::boolean[], $8::text[])
      as request (lease_id, connection_id, access_key_id, min_remaining, lease_seconds, past_half_life, purpose)
  ), ${GRANT}`,
}

/**
 * The same by URL, where one servable connection covers the longest part of it. Where none does, or more than one, or
 * where the URL names no port (SSH), there is no row in the answer, and the rules of url-match.ts decide.
 */
const GRANT_BY_URL: PreparedStatement = {
  name: 'grant-by-url',
  text: `
  with wish as (
    select * from unnest($2::uuid[], $3::text[], $4::uuid[], $5::float8[], $6::float8[], $7::boolean[], $8::text[])
      as wish (lease_id, organization, access_key_id, min_remaining, lease_seconds, past_half_life, purpose)
  ), place as (
    select * from unnest($9::uuid[], $10::text[], $11::text[], $12::int[])
      as place (lease_id, base_url, group_path, depth)
  ), candidate as (
    select wish.lease_id, connections.id,
      rank() over (partition by wish.lease_id order by place.depth desc) as position,
      count(*) over (partition by wish.lease_id, place.depth) as rivals
    from wish
    join place on place.lease_id = wish.lease_id
    join access_keys on access_keys.id = wish.access_key_id and ${KEY_IS_VALID}
    join instances on instances.base_url = place.base_url
    join connections on connections.instance_id = instances.id and connections.group_path = place.group_path
      and ${IS_SERVABLE}
      and (wish.organization is null or connections.organization = wish.organization)
      and ${MAY_USE('connections.organization')}
  ), request as (
    select wish.*, candidate.id as connection_id
    from wish
    join candidate on candidate.lease_id = wish.lease_id and candidate.position = 1 and candidate.rivals = 1
  ), ${GRANT}`,
}

type Terms = Omit<GrantRequest, 'connectionId'>

const termColumns = (requests: Terms[]) => [
  requests.map(({ accessKeyId }) => accessKeyId),
  requests.map(({ minRemaining }) => minRemaining),
  requests.map(({ leaseSeconds }) => leaseSeconds),
  requests.map(({ acceptPastHalfLife }) => acceptPastHalfLife),
  requests.map(({ purpose }) => purpose),
]

export const grantLeases = (run: RunPrepared, requests: GrantRequest[], now: Date): Promise<GrantRow[]> =>
  run<GrantRow>(GRANT_BY_ID, [
    now,
    requests.map(({ leaseId }) => leaseId),
    requests.map(({ connectionId }) => connectionId),
    ...termColumns(requests),
  ])

export const grantLeasesByUrl = (
  run: RunPrepared,
  requests: UrlGrantRequest[],
  now: Date,
): Promise<GrantRow[]> => {
  const places = requests.flatMap(({ leaseId, places }) => places.map((place) => ({ leaseId, ...place })))
  return run<GrantRow>(GRANT_BY_URL, [
    now,
    requests.map(({ leaseId }) => leaseId),
    requests.map(({ organization }) => organization),
    ...termColumns(requests),
    places.map(({ leaseId }) => leaseId),
    places.map(({ baseUrl }) => baseUrl),
    places.map(({ groupPath }) => groupPath),
    places.map(({ groupPath }) => depthOf(groupPath)),
  ])
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
  places: Place[]
  now: Date
}

const FIND_CANDIDATES: PreparedStatement = {
  name: 'find-candidates',
  text: `
  select connections.id, connections.organization, instances.base_url, connections.group_path, connections.name,
    connections.status, connections.status_detail,
    connections.refresh_token is not null and connections.oauth_app_id is not null as refreshable,
    connections.attempt_id, connections.unanswered_since, connections.token_expires_at, connections.last_verified_at,
    ${IS_LEASED('connections')} as leased
  from unnest($2::text[], $3::boolean[], $4::text[]) as place (base_url, any_port, group_path)
  join instances on ${IS_AT_PLACE}
  join access_keys on access_keys.id = $5::uuid and ${KEY_IS_VALID}
  join connections on connections.instance_id = instances.id and connections.group_path = place.group_path
    and ($6::text is null or connections.organization = $6::text)
    and ${MAY_USE('connections.organization')}
  limit 1000`,
}

/** Every connection within the key's organizations that covers one of the places, whatever its status. */
export const findCandidates = (
  run: RunPrepared,
  { places, ...query }: CandidateQuery,
): Promise<CandidateRow[]> =>
  run<CandidateRow>(FIND_CANDIDATES, [
    query.now,
    places.map(({ baseUrl }) => baseUrl),
    places.map(({ anyPort }) => anyPort),
    places.map(({ groupPath }) => groupPath),
    query.accessKeyId,
    query.organization ?? null,
  ])

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
