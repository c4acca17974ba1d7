import { sql } from 'kysely'
import type { Database, PreparedStatement, RunPrepared } from '../db/database.ts'
import type { ConnectionStatus } from '../db/tables.ts'
import { AT_PLACE, IS_LEASED, KEY_IS_VALID, MATCH_VERSION, MAY_USE } from './grants/queries.ts'

export type Place = {
  baseUrl: string
  /** The base URL stands for an instance on any port of its host. */
  anyPort: boolean
  groupPath: string
}

const IS_AT_PLACE = `(
  instances.base_url = place.base_url
  or (place.any_port and regexp_replace(instances.base_url, '^(https?://[^/]+?):[0-9]+', '\\1') = place.base_url)
)`

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
  /** undefined = all. */
  organizations: string[] | undefined
  places: Place[]
  now: Date
}

/** Those that can be served before those that only explain why not. */
const MOST_CANDIDATES = 1000

const findCandidatesStatement = (name: string, searched: string, isWithin: string): PreparedStatement => ({
  name,
  text: `
  select connections.id, connections.organization, instances.base_url, connections.group_path, connections.name,
    connections.status, connections.status_detail,
    connections.refresh_token is not null and connections.oauth_app_id is not null as refreshable,
    connections.attempt_id, connections.unanswered_since, connections.token_expires_at, connections.last_verified_at,
    ${IS_LEASED('connections')} as leased
  from unnest($2::text[], $3::boolean[], $4::text[]) as place (base_url, any_port, group_path)
  join instances on ${IS_AT_PLACE}
  join access_keys on access_keys.id = $5::uuid and ${KEY_IS_VALID}
  ${searched}
  join ${AT_PLACE('*', isWithin)} on ${MAY_USE('connections.organization')}
  order by connections.status = 'active' desc, length(connections.group_path) desc
  limit ${MOST_CANDIDATES}`,
})

const FIND_CANDIDATES_WITHIN = findCandidatesStatement(
  'find-candidates-within',
  'cross join unnest($6::text[]) as searched (organization)',
  'connections.organization = searched.organization',
)
const FIND_CANDIDATES_ANYWHERE = findCandidatesStatement('find-candidates-anywhere', '', '$6::text[] is null')

/** Every connection within the key's organizations that covers one of the places, whatever its status. */
export const findCandidates = (
  run: RunPrepared,
  { accessKeyId, organizations, places, now }: CandidateQuery,
): Promise<CandidateRow[]> =>
  run<CandidateRow>(organizations ? FIND_CANDIDATES_WITHIN : FIND_CANDIDATES_ANYWHERE, [
    now,
    places.map(({ baseUrl }) => baseUrl),
    places.map(({ anyPort }) => anyPort),
    places.map(({ groupPath }) => groupPath),
    accessKeyId,
    organizations ?? null,
  ])

export type DirectoryQuery = {
  accessKeyId: string
  /** undefined = all: then connections without a group are left out. */
  organizations: string[] | undefined
  baseUrl: string
  /** First segment of the group paths. */
  topGroup: string
  scopes: string[]
  limit: number
  now: Date
}

export type DirectoryRow = {
  version: number
  /** Another instance lives below this one's address, where a group could be. */
  is_ambiguous: boolean
  /** null = there is none. */
  id: string | null
  group_path: string | null
  /** The access key may act in its organization. */
  is_visible: boolean | null
}

const findDirectoryStatement = (name: string, isWithin: string): PreparedStatement => ({
  name,
  text: `
  select directory.version, directory.is_ambiguous, connections.id, connections.group_path,
    ${MAY_USE('connections.organization')} as is_visible
  from (
    select ${MATCH_VERSION('$6::text[]')} as version, exists (
      select from instances
      where starts_with(base_url, $3::text || '/') and lower(split_part(base_url, '/', 4) collate "C") = $4::text
    ) as is_ambiguous
  ) as directory
  left join (
    unnest($5::text[], $7::text[]) as searched (top_group, organization)
    join instances on instances.base_url = $3::text
    join access_keys on access_keys.id = $2::uuid and ${KEY_IS_VALID}
    join lateral (
      select id, organization, group_path from connections
      where connections.instance_id = instances.id
        and split_part(connections.group_path, '/', 1) = searched.top_group and ${isWithin}
      order by connections.organization limit $8::int
    ) as connections on true
  ) on true
  limit $8::int`,
})

const FIND_DIRECTORY_WITHIN = findDirectoryStatement(
  'find-directory-within',
  'connections.organization = searched.organization',
)
const FIND_DIRECTORY_ANYWHERE = findDirectoryStatement('find-directory-anywhere', 'true')

/** Connections of any status below a group of the first level, and those without a group; one row at least. */
export const findDirectory = (
  run: RunPrepared,
  { accessKeyId, organizations, baseUrl, topGroup, scopes, limit, now }: DirectoryQuery,
): Promise<DirectoryRow[]> => {
  const searched = organizations
    ? organizations.flatMap((organization) => [topGroup, ''].map((group) => ({ group, organization })))
    : [{ group: topGroup, organization: null }]
  return run<DirectoryRow>(organizations ? FIND_DIRECTORY_WITHIN : FIND_DIRECTORY_ANYWHERE, [
    now,
    accessKeyId,
    baseUrl,
    topGroup,
    searched.map(({ group }) => group),
    scopes,
    searched.map(({ organization }) => organization),
    limit,
  ])
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
