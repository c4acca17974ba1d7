import type { PreparedStatement, RunPrepared } from '../../db/database.ts'
import type { LeaseRequest, LeaseRow } from '../../leases/lease.ts'
import {
  arrayOf,
  KEY_IS_VALID,
  leaseStatement,
  MAY_USE,
  REQUEST_COLUMNS,
  REQUEST_PARAMETERS,
  runLeaseStatement,
} from '../../leases/queries.ts'
import { IS_REFRESHABLE } from '../../token-lifecycle/queries.ts'
import { IN_GROUP, MATCH_VERSION, type Match, MOST_IN_GROUP } from '../queries.ts'

/** Separates the elements of a list in one text: no element contains it. */
const SEPARATOR = '\n'
const LIST = (text: string) => `string_to_array(${text}, E'\\n')`

/** A token that cannot be refreshed can be served until its end. In these fragments $1 is the time. */
const IS_SERVABLE = `connections.status = 'active' and (
  ${IS_REFRESHABLE('connections')}
  or connections.token_expires_at is null or connections.token_expires_at > $1::timestamptz
)`

export type MatchLeaseRequest = LeaseRequest & { match: Match }
export type MatchLeaseRow = LeaseRow & {
  /** The version of what is watched now. */
  match_version: number
}

/** Leases by id, as long as the match holds. */
const LEASE_BY_MATCH = leaseStatement({
  name: 'lease-by-match',
  request: `request as materialized (
    select request.*, ${MATCH_VERSION(LIST('request.watched'))} as version_now
    from unnest(${REQUEST_PARAMETERS}, $8::uuid[], $9::text[], $10::float8[])
      as request (${REQUEST_COLUMNS}, connection_id, watched, match_version)
  )`,
  connectionIds: '$8::uuid[]',
  condition: 'request.version_now = request.match_version',
  column: { name: 'match_version', expression: 'request.version_now' },
})

export const leaseByMatch = (
  run: RunPrepared,
  requests: MatchLeaseRequest[],
  now: Date,
): Promise<MatchLeaseRow[]> =>
  runLeaseStatement(
    run,
    LEASE_BY_MATCH,
    requests,
    [
      arrayOf(requests.map(({ match }) => match.connectionId)),
      requests.map(({ match }) => match.watched.join(SEPARATOR)),
      arrayOf(requests.map(({ match }) => match.version)),
    ],
    now,
  )

export type UrlLeaseRequest = LeaseRequest & {
  /** undefined = all: then connections without a group are not looked for. */
  organizations: string[] | undefined
  baseUrl: string
  /** If one of these is an instance too, the URL has more than one reading: no lease. */
  otherBaseUrls: string[]
  groupPaths: string[]
}

/**
 * Leases by URL, by those rules of url-match.ts that need no more than the row. Takes the servable connections that
 * cover the longest part of the URL. If all of these belong to one organization, the latest verified is leased. If
 * the latest verified cannot be leased, there is no lease, and url-match.ts decides.
 */
const leaseByUrlStatement = (name: string, isWithin: string): PreparedStatement =>
  leaseStatement({
    name,
    request: `asked as (
    select * from unnest(${REQUEST_PARAMETERS}, $8::text[], $9::text[])
      as asked (${REQUEST_COLUMNS}, base_url, other_base_urls)
  ), other as (
    select array_agg(base_url) as base_urls from instances where base_url = any ($10::text[])
  ), candidate as (
    select asked.lease_id, asked.access_key_id, asked.min_remaining, asked.lease_seconds, asked.past_half_life,
      asked.purpose, connections.id as connection_id, row_number() over best as position,
      min(connections.organization) over longest = max(connections.organization) over longest
        and count(*) over longest < ${MOST_IN_GROUP} as decided
    from asked
    join instances on instances.base_url = asked.base_url
    join access_keys on access_keys.id = asked.access_key_id and ${KEY_IS_VALID}
    join unnest($11::uuid[], $12::text[], $13::text[]) as covering (lease_id, group_path, organization)
      on covering.lease_id = asked.lease_id
    join ${IN_GROUP(
      `id, organization, group_path, status, refresh_token, oauth_app_id, token_expires_at, last_verified_at`,
      isWithin,
    )} on ${IS_SERVABLE} and ${MAY_USE('connections.organization')}
    where (select base_urls is null from other)
      or not ${LIST('asked.other_base_urls')} && (select base_urls from other)
    window
      longest as (partition by asked.lease_id order by length(connections.group_path) desc),
      best as (partition by asked.lease_id order by length(connections.group_path) desc,
        connections.last_verified_at desc nulls last, connections.id)
  ), request as (
    select * from candidate where position = 1 and decided
  )`,
    connectionIds: 'array(select connection_id from request)',
  })

const LEASE_BY_URL_WITHIN = leaseByUrlStatement(
  'lease-by-url-within',
  'connections.organization = covering.organization',
)
const LEASE_BY_URL_ANYWHERE = leaseByUrlStatement('lease-by-url-anywhere', 'true')

/** @param requests either all name organizations, or none does. */
export const leaseByUrl = (run: RunPrepared, requests: UrlLeaseRequest[], now: Date): Promise<LeaseRow[]> => {
  const isWithin = requests[0]?.organizations !== undefined
  const covering = requests.flatMap(({ leaseId, organizations = [null], groupPaths }) =>
    organizations.flatMap((organization) =>
      groupPaths.map((groupPath) => ({ leaseId, groupPath, organization })),
    ),
  )
  return runLeaseStatement(
    run,
    isWithin ? LEASE_BY_URL_WITHIN : LEASE_BY_URL_ANYWHERE,
    requests,
    [
      requests.map(({ baseUrl }) => baseUrl),
      requests.map(({ otherBaseUrls }) => otherBaseUrls.join(SEPARATOR)),
      [...new Set(requests.flatMap(({ otherBaseUrls }) => otherBaseUrls))],
      arrayOf(covering.map(({ leaseId }) => leaseId)),
      covering.map(({ groupPath }) => groupPath),
      covering.map(({ organization }) => organization),
    ],
    now,
  )
}
