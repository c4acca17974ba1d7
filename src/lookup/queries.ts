import type { PreparedStatement, RunPrepared } from '../db/database.ts'
import type { ConnectionStatus } from '../db/tables.ts'
import { type NamedInstance, type ResourceUrl, sshNamesOf } from '../gitlab/repository-url.ts'
import { HOST } from '../instances/queries.ts'
import { IS_LEASED, KEY_IS_VALID, MAY_USE } from '../leases/queries.ts'
import { IS_REFRESHABLE } from '../token-lifecycle/queries.ts'

/** One group, such as '' for a whole instance, may have any number of connections. */
export const MOST_IN_GROUP = 1000

/**
 * The connections of one group in one organization that exist for the access key. PostgreSQL plans by average sizes,
 * and would read a very large group as a whole. One value for each column of the index, the order of the index and a
 * limit make it use the index.
 */
export const IN_GROUP = (columns: string, organization: string) => `lateral (
    select ${columns} from connections
    where connections.instance_id = instances.id and connections.group_path = covering.group_path
      and connections.organization = ${organization} and ${MAY_USE('connections')}
    order by connections.organization limit ${MOST_IN_GROUP}
  ) as connections`

/** A group that covers a URL, on an instance. */
export type CoveringGroup = { baseUrl: string; groupPath: string }

/** A host may have this many instances: on ports, and under paths. */
const MOST_INSTANCES = 1000

const FIND_INSTANCES: PreparedStatement = {
  name: 'find-instances-of-host',
  text: `
  select base_url, ssh_hosts from instances where ${HOST} = $1::text
  union
  select base_url, ssh_hosts from instances where ssh_hosts && $2::text[] or $3::boolean and exists (
    select from unnest(ssh_hosts) as ssh_host where starts_with(ssh_host, $1::text || ':')
  )
  limit ${MOST_INSTANCES}`,
}

/** The instances that a URL may mean by its host: readingsAt chooses among them. */
export const findInstancesOfHost = (run: RunPrepared, resource: ResourceUrl): Promise<NamedInstance[]> => {
  const sshNames = sshNamesOf(resource)
  return run<NamedInstance>(FIND_INSTANCES, [resource.hostname, sshNames, sshNames.length > 0])
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
  organization: string
  covering: CoveringGroup[]
  now: Date
}

/** Active ones first: the others only explain why there is no token. */
const MOST_CANDIDATES = 1000

const FIND_CANDIDATES: PreparedStatement = {
  name: 'find-candidates',
  text: `
  select connections.id, connections.organization, instances.base_url, connections.group_path, connections.name,
    connections.status, connections.status_detail,
    ${IS_REFRESHABLE('connections')} as refreshable,
    connections.attempt_id, connections.unanswered_since, connections.token_expires_at, connections.last_verified_at,
    ${IS_LEASED('connections')} as leased
  from unnest($2::text[], $3::text[]) as covering (base_url, group_path)
  join instances on instances.base_url = covering.base_url
  join access_keys on access_keys.id = $4::uuid and ${KEY_IS_VALID}
  join ${IN_GROUP('*', '$5::text')} on true
  order by connections.status = 'active' desc, length(connections.group_path) desc
  limit ${MOST_CANDIDATES}`,
}

/** Every connection of the organization that covers the URL and exists for the key, whatever its status. */
export const findCandidates = (
  run: RunPrepared,
  { accessKeyId, organization, covering, now }: CandidateQuery,
): Promise<CandidateRow[]> =>
  run<CandidateRow>(FIND_CANDIDATES, [
    now,
    covering.map(({ baseUrl }) => baseUrl),
    covering.map(({ groupPath }) => groupPath),
    accessKeyId,
    organization,
  ])

/**
 * Which connection a URL gets, as long as `watched` still has this version. Triggers renew the version when a row comes
 * that could change the match (migrations/0003_match_versions.ts).
 */
export type Match = {
  connectionId: string
  /** The group of the first level, and '/' with the organization, whose connections without a group count too. */
  watched: string[]
  version: number
}

export const MATCH_VERSION = (watched: string) =>
  `coalesce((select sum(version) from match_versions where scope = any (${watched})), 0)::float8`

export type DirectoryQuery = {
  accessKeyId: string
  organization: string
  baseUrl: string
  /** First segment of the group paths. */
  topGroup: string
  /** What the version belongs to: see Match. */
  watched: string[]
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
  /** It exists for the access key. */
  is_visible: boolean | null
}

const FIND_DIRECTORY: PreparedStatement = {
  name: 'find-directory',
  text: `
  select directory.version, directory.is_ambiguous, connections.id, connections.group_path,
    ${MAY_USE('connections')} as is_visible
  from (
    select ${MATCH_VERSION('$6::text[]')} as version, exists (
      select from instances
      where starts_with(base_url, $3::text || '/') and lower(split_part(base_url, '/', 4) collate "C") = $4::text
    ) as is_ambiguous
  ) as directory
  left join (
    unnest(array[$4::text, '']) as searched (top_group)
    join instances on instances.base_url = $3::text
    join access_keys on access_keys.id = $2::uuid and ${KEY_IS_VALID}
    join lateral (
      select id, organization, group_path from connections
      where connections.instance_id = instances.id
        and split_part(connections.group_path, '/', 1) = searched.top_group and connections.organization = $5::text
      order by connections.organization limit $7::int
    ) as connections on true
  ) on true
  limit $7::int`,
}

/**
 * The connections of an organization below a group of the first level, and those without a group, of any status; one
 * row at least.
 */
export const findDirectory = (
  run: RunPrepared,
  { accessKeyId, organization, baseUrl, topGroup, watched, limit, now }: DirectoryQuery,
): Promise<DirectoryRow[]> =>
  run<DirectoryRow>(FIND_DIRECTORY, [now, accessKeyId, baseUrl, topGroup, organization, watched, limit])
