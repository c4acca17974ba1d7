import type { RunPrepared } from '../../db/database.ts'
import type { LeaseRequest, LeaseRow } from '../../leases/lease.ts'
import {
  arrayOf,
  KEY_IS_VALID,
  leaseStatement,
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
    from unnest(${REQUEST_PARAMETERS}, $9::uuid[], $10::text[], $11::float8[])
      as request (${REQUEST_COLUMNS}, connection_id, watched, match_version)
  )`,
  connectionIds: '$9::uuid[]',
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
  organization: string
  baseUrl: string
  /** If one of these is an instance too, the URL has more than one reading: no lease. */
  otherBaseUrls: string[]
  groupPaths: string[]
}

/**
 * Leases by URL, by those rules of url-match.ts that need no more than the row. Takes the servable connections that
 * cover the longest part of the URL, and of these the latest verified. If the latest verified cannot be leased, there
 * is no lease, and url-match.ts decides.
 */
const LEASE_BY_URL = leaseStatement({
  name: 'lease-by-url',
  request: `asked as (
    select * from unnest(${REQUEST_PARAMETERS}, $9::text[], $10::text[], $11::text[])
      as asked (${REQUEST_COLUMNS}, organization, base_url, other_base_urls)
  ), other as (
    select array_agg(base_url) as base_urls from instances where base_url = any ($12::text[])
  ), candidate as (
    select asked.lease_id, asked.access_key_id, asked.min_remaining, asked.lease_seconds, asked.past_half_life,
      asked.purpose, asked.subject, connections.id as connection_id, row_number() over best as position,
      count(*) over longest < ${MOST_IN_GROUP} as decided
    from asked
    join instances on instances.base_url = asked.base_url
    join access_keys on access_keys.id = asked.access_key_id and ${KEY_IS_VALID}
    join unnest($13::uuid[], $14::text[]) as covering (lease_id, group_path) on covering.lease_id = asked.lease_id
    join ${IN_GROUP(
      `id, organization, group_path, status, refresh_token, oauth_app_id, token_expires_at, last_verified_at`,
      'asked.organization',
    )} on ${IS_SERVABLE}
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

export const leaseByUrl = (run: RunPrepared, requests: UrlLeaseRequest[], now: Date): Promise<LeaseRow[]> => {
  const covering = requests.flatMap(({ leaseId, groupPaths }) =>
    groupPaths.map((groupPath) => ({ leaseId, groupPath })),
  )
  return runLeaseStatement(
    run,
    LEASE_BY_URL,
    requests,
    [
      requests.map(({ organization }) => organization),
      requests.map(({ baseUrl }) => baseUrl),
      requests.map(({ otherBaseUrls }) => otherBaseUrls.join(SEPARATOR)),
      [...new Set(requests.flatMap(({ otherBaseUrls }) => otherBaseUrls))],
      arrayOf(covering.map(({ leaseId }) => leaseId)),
      covering.map(({ groupPath }) => groupPath),
    ],
    now,
  )
}
