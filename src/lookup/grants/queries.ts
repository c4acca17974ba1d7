import type { PreparedStatement, RunPrepared } from '../../db/database.ts'
import type { GrantRequest, GrantRow, MatchGrantRequest, UrlGrantRequest } from './grant.ts'

/** A token that cannot be refreshed is of use until its end; every other one can be renewed. */
const IS_SERVABLE = `connections.status = 'active' and (
  (connections.refresh_token is not null and connections.oauth_app_id is not null)
  or connections.token_expires_at is null or connections.token_expires_at > $1::timestamptz
)`

export const IS_LEASED = (connection: string) => `exists (
  select from leases
  where leases.connection_id = ${connection}.id and leases.released_at is null
    and leases.expires_at > $1::timestamptz and leases.token_version = ${connection}.token_version
)`

export const MAY_USE = (organization: string) =>
  `(${organization} = any (access_keys.organizations) or '*' = any (access_keys.organizations))`

export const KEY_IS_VALID = '(access_keys.expires_at is null or access_keys.expires_at > $1::timestamptz)'

/** Between the elements of a list in one text: none of them has it. */
const SEPARATOR = '\n'
const LIST = (text: string) => `string_to_array(${text}, E'\\n')`

/** Of what could change which connection a URL gets (migrations/0003_match_versions.ts). */
export const MATCH_VERSION = (scopes: string) =>
  `coalesce((select sum(version) from match_versions where scope = any (${scopes})), 0)::float8`

/** A time as a number: to write it as text and read that again would cost more than all else of a column. */
const MILLISECONDS = (time: string) => `date_part('epoch', ${time}) * 1000`

/**
 * Reads the connections of `request` and grants their leases in one statement. The row locks keep a refresh from
 * being claimed between the check and the lease: a claim locks `for update`, and counts the leases after it has the
 * lock. A request of a deleted or expired access key, for an unknown connection or one outside the key's
 * organizations has no row in the answer, nor has one for a connection that is locked at the moment: a statement that
 * waited would hold up all that share it, and then judge by the time and the keys of before.
 */
const GRANT = (connectionIds: string, { isMatch = 'true', matchVersion = '' } = {}) => `
  connection as (
    select id, organization, instance_id, token_kind, token_version, access_token, scopes, status, status_reason,
      status_detail, token_issued_at, token_expires_at, attempt_id, attempt_deadline, unanswered_since, retry_after,
      refresh_token is not null and oauth_app_id is not null as refreshable
    from connections
    where id = any (${connectionIds})
    for share skip locked
  ), found as (
    select request.lease_id, request.purpose, request.access_key_id, connection.*,
      least($1::timestamptz + make_interval(secs => request.lease_seconds), connection.token_expires_at) as lease_until,
      ${matchVersion && `${matchVersion} as match_version,`}
      ${isMatch}
        and connection.status = 'active'
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
  select found.lease_id, found.id as connection_id, found.organization, instances.base_url, found.token_kind,
    found.token_version, array_to_string(found.scopes, ' ') as scopes,
    ${MILLISECONDS('found.token_expires_at')} as token_expires_at,${matchVersion && ' found.match_version,'}
    case when found.granted then found.access_token end as access_token,
    case when found.granted is not true then jsonb_build_object(
      'status', found.status, 'status_reason', found.status_reason, 'status_detail', found.status_detail,
      'token_issued_at', ${MILLISECONDS('found.token_issued_at')},
      'attempt_id', found.attempt_id, 'attempt_deadline', ${MILLISECONDS('found.attempt_deadline')},
      'unanswered_since', ${MILLISECONDS('found.unanswered_since')},
      'retry_after', ${MILLISECONDS('found.retry_after')}, 'refreshable', found.refreshable
    ) end as refused
  from found
  join instances on instances.id = found.instance_id`

const GRANT_BY_ID: PreparedStatement = {
  name: 'grant-by-id',
  text: `
  with request as (
    select * from unnest($2::uuid[], $3::uuid[], $4::float8[], $5::float8[], $6::boolean[], $7::text[], $8::uuid[])
      as request (lease_id, access_key_id, min_remaining, lease_seconds, past_half_life, purpose, connection_id)
  ), ${GRANT('$8::uuid[]')}`,
}

/** By id, as long as the match holds. */
const GRANT_BY_MATCH: PreparedStatement = {
  name: 'grant-by-match',
  text: `
  with request as materialized (
    select request.*, ${MATCH_VERSION(LIST('request.scopes'))} as version_now
    from unnest($2::uuid[], $3::uuid[], $4::float8[], $5::float8[], $6::boolean[], $7::text[], $8::uuid[],
        $9::text[], $10::float8[])
      as request (lease_id, access_key_id, min_remaining, lease_seconds, past_half_life, purpose, connection_id,
        scopes, match_version)
  ), ${GRANT('$8::uuid[]', {
    isMatch: 'request.version_now = request.match_version',
    matchVersion: 'request.version_now',
  })}`,
}

/** One place, such as a whole instance for all organizations together, may have any number of connections. */
const MOST_AT_PLACE = 1000
/**
 * The connections at one place. The planner goes by averages, by which an instance, an organization or a group looks
 * small enough to be read as a whole, and the largest ones are not: one value for each column, the order of the index
 * and a limit leave it nothing cheaper than the index.
 */
export const AT_PLACE = (columns: string, isWithin: string) => `lateral (
    select ${columns} from connections
    where connections.instance_id = instances.id and connections.group_path = place.group_path and ${isWithin}
    order by connections.organization limit ${MOST_AT_PLACE}
  ) as connections`

/**
 * The same by URL, by the rules of url-match.ts as far as they need no more than the row: of the servable connections
 * that cover the longest part of the URL the latest verified, if all of these belong to one organization. Its token
 * counts only when it is granted; where there is no grant, url-match.ts decides.
 */
const grantByUrl = (name: string, isWithin: string): PreparedStatement => ({
  name,
  text: `
  with wish as (
    select * from unnest($2::uuid[], $3::uuid[], $4::float8[], $5::float8[], $6::boolean[], $7::text[],
        $8::text[], $9::text[])
      as wish (lease_id, access_key_id, min_remaining, lease_seconds, past_half_life, purpose, base_url, other_base_urls)
  ), other as (
    select array_agg(base_url) as base_urls from instances where base_url = any ($10::text[])
  ), candidate as (
    select wish.lease_id, wish.access_key_id, wish.min_remaining, wish.lease_seconds, wish.past_half_life,
      wish.purpose, connections.id as connection_id, row_number() over best as position,
      min(connections.organization) over longest = max(connections.organization) over longest
        and count(*) over longest < ${MOST_AT_PLACE} as decided
    from wish
    join instances on instances.base_url = wish.base_url
    join access_keys on access_keys.id = wish.access_key_id and ${KEY_IS_VALID}
    join unnest($11::uuid[], $12::text[], $13::text[]) as place (lease_id, group_path, organization)
      on place.lease_id = wish.lease_id
    join ${AT_PLACE(
      `id, organization, group_path, status, refresh_token, oauth_app_id, token_expires_at, last_verified_at`,
      isWithin,
    )} on ${IS_SERVABLE} and ${MAY_USE('connections.organization')}
    where (select base_urls is null from other)
      or not ${LIST('wish.other_base_urls')} && (select base_urls from other)
    window
      longest as (partition by wish.lease_id order by length(connections.group_path) desc),
      best as (partition by wish.lease_id order by length(connections.group_path) desc,
        connections.last_verified_at desc nulls last, connections.id)
  ), request as (
    select * from candidate where position = 1 and decided
  ), ${GRANT('array(select connection_id from request)')}`,
})

const GRANT_BY_URL_WITHIN = grantByUrl('grant-by-url-within', 'connections.organization = place.organization')
const GRANT_BY_URL_ANYWHERE = grantByUrl('grant-by-url-anywhere', 'true')

type RawGrantRow = Record<string, unknown> & {
  scopes: string
  token_expires_at: number | null
  refused: Record<string, unknown> | null
}

const toDate = (milliseconds: unknown): Date | null =>
  typeof milliseconds === 'number' ? new Date(Math.round(milliseconds)) : null

const toGrantRow = (raw: RawGrantRow): GrantRow => {
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
  }) as unknown as GrantRow
}

/** What needs no quotes in the text of an array: pg would quote each element. */
const arrayOf = (values: (string | number | boolean)[]): string => `{${values.join(',')}}`

const termColumns = (requests: Omit<GrantRequest, 'connectionId'>[]) => [
  arrayOf(requests.map(({ leaseId }) => leaseId)),
  arrayOf(requests.map(({ accessKeyId }) => accessKeyId)),
  arrayOf(requests.map(({ minRemaining }) => minRemaining)),
  arrayOf(requests.map(({ leaseSeconds }) => leaseSeconds)),
  arrayOf(requests.map(({ acceptPastHalfLife }) => acceptPastHalfLife)),
  requests.map(({ purpose }) => purpose),
]

export const grantLeases = async (
  run: RunPrepared,
  requests: GrantRequest[],
  now: Date,
): Promise<GrantRow[]> => {
  const connectionIds = arrayOf(requests.map(({ connectionId }) => connectionId))
  const rows = await run<RawGrantRow>(GRANT_BY_ID, [now, ...termColumns(requests), connectionIds])
  return rows.map(toGrantRow)
}

const IS_VISIBLE: PreparedStatement = {
  name: 'is-visible',
  text: `
  select true as is_visible from connections
  join access_keys on access_keys.id = $2::uuid and ${KEY_IS_VALID} and ${MAY_USE('connections.organization')}
  where connections.id = $3::uuid`,
}

/** Whether there is such a connection for this access key, locked or not. */
export const isVisible = async (
  run: RunPrepared,
  { connectionId, accessKeyId }: Pick<GrantRequest, 'connectionId' | 'accessKeyId'>,
  now: Date,
): Promise<boolean> => (await run(IS_VISIBLE, [now, accessKeyId, connectionId])).length > 0

export const grantLeasesByMatch = async (
  run: RunPrepared,
  requests: MatchGrantRequest[],
  now: Date,
): Promise<GrantRow[]> => {
  const rows = await run<RawGrantRow>(GRANT_BY_MATCH, [
    now,
    ...termColumns(requests),
    arrayOf(requests.map(({ match }) => match.connectionId)),
    requests.map(({ match }) => match.scopes.join(SEPARATOR)),
    arrayOf(requests.map(({ match }) => match.version)),
  ])
  return rows.map(toGrantRow)
}

/** @param requests with organizations all of them, or none. */
export const grantLeasesByUrl = async (
  run: RunPrepared,
  requests: UrlGrantRequest[],
  now: Date,
): Promise<GrantRow[]> => {
  const isWithin = requests[0]?.organizations !== undefined
  const places = requests.flatMap(({ leaseId, organizations = [null], groupPaths }) =>
    organizations.flatMap((organization) =>
      groupPaths.map((groupPath) => ({ leaseId, groupPath, organization })),
    ),
  )
  const rows = await run<RawGrantRow>(isWithin ? GRANT_BY_URL_WITHIN : GRANT_BY_URL_ANYWHERE, [
    now,
    ...termColumns(requests),
    requests.map(({ baseUrl }) => baseUrl),
    requests.map(({ otherBaseUrls }) => otherBaseUrls.join(SEPARATOR)),
    [...new Set(requests.flatMap(({ otherBaseUrls }) => otherBaseUrls))],
    arrayOf(places.map(({ leaseId }) => leaseId)),
    places.map(({ groupPath }) => groupPath),
    places.map(({ organization }) => organization),
  ])
  return rows.map(toGrantRow)
}
