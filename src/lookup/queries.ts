import type { PreparedStatement, RunPrepared } from '../db/database.ts'
import type { ConnectionStatus } from '../db/tables.ts'
import { type NamedInstance, type ResourceUrl, sshNamesOf } from '../gitlab/repository-url.ts'
import { arrayOf, IS_LEASED, KEY_IS_VALID, MAY_USE } from '../leases/queries.ts'
import { OUTAGE_MINIMUM_SECONDS } from '../leases/serving-decision.ts'
import { IS_REFRESHABLE } from '../token-lifecycle/queries.ts'
import { RATE_LEFT, type RateBudgets, REACHES, REFUSALS, REFUSED_AT } from './reach/queries.ts'

/** What says that a directory is out of date (migrations/0014_directories.ts). */
export const DIRECTORY_VERSION = (organization: string, instance: string) => `coalesce((
  select version from directory_versions where organization = ${organization} and instance_id = ${instance}
), 0)::float8`
/** The same of the instances. */
export const INSTANCES_VERSION = DIRECTORY_VERSION(`''`, `'00000000-0000-0000-0000-000000000000'::uuid`)

/** A host may have this many instances: on ports, and under paths. */
const MOST_INSTANCES = 1000

/** The host of a base URL as the index has it (migrations/0015_ssh_hosts.ts). */
const HOST = `regexp_replace(split_part(base_url, '/', 3), ':[0-9]+$', '')`

export type KnownInstance = NamedInstance & { id: string }

const FIND_INSTANCES: PreparedStatement = {
  name: 'find-instances-of-host',
  text: `
  select ${INSTANCES_VERSION} as version, found.*
  from (select) as once
  left join (
    select id, base_url, ssh_hosts from instances where ${HOST} = $1::text
    union
    select id, base_url, ssh_hosts from instances where ssh_hosts && $2::text[] or $3::boolean and exists (
      select from unnest(ssh_hosts) as ssh_host where starts_with(ssh_host, $1::text || ':')
    )
    limit ${MOST_INSTANCES}
  ) as found on true`,
}

/** The instances that a URL may mean by its host (readingsAt chooses among them), and the version of all instances. */
export const findInstancesOfHost = async (
  run: RunPrepared,
  resource: ResourceUrl,
): Promise<{ version: number; instances: KnownInstance[] }> => {
  const sshNames = sshNamesOf(resource)
  const rows = await run<KnownInstance & { version: number }>(FIND_INSTANCES, [
    resource.hostname,
    sshNames,
    sshNames.length > 0,
  ])
  return { version: rows[0]!.version, instances: rows.filter(({ id }) => id !== null) }
}

/** Stands for more ids than this in a line: it stays as short as one that is read at each lookup should be. */
export const MANY = '*'
const MOST_IDS = 100
const IDS = `case when count(*) > ${MOST_IDS} then '${MANY}' else string_agg(connection_id::text, ',') end`

/** An organization of very many places is not read in order to find that out; refusals are few, and are counted with the rest. */
const FIND_DIRECTORY: PreparedStatement = {
  name: 'find-directory',
  text: `
  select ${DIRECTORY_VERSION('$1::text', '$2::uuid')} as version, size.places, case when size.places <= $3::int then (
    select case when count(*) <= $3::int then coalesce(string_agg(line, ''), '') end from (
      select match_path || E'\\t' || ${IDS} || E'\\n' as line from connection_places
      where instance_id = $2::uuid and organization = $1::text and match_path !~ '[[:cntrl:]]'
      group by match_path
      union all
      select E'\\x1f' || match_path || E'\\t' || ${IDS} || E'\\n' from ${REFUSALS}
      group by match_path
    ) as directory
  ) end as text
  from (
    select count(*)::int as places from (
      select from connection_places where instance_id = $2::uuid and organization = $1::text limit $3::int + 1
    ) as counted
  ) as size`,
}

/**
 * @property places one more than `most` when there are more.
 * @property text null = more than `most` places, or lines. See directories.ts.
 */
export type DirectoryRow = { version: number; places: number; text: string | null }

export const findDirectory = async (
  run: RunPrepared,
  { organization, instanceId, most }: { organization: string; instanceId: string; most: number },
): Promise<DirectoryRow> => (await run<DirectoryRow>(FIND_DIRECTORY, [organization, instanceId, most]))[0]!

/** A path that covers a URL, on an instance on which the URL lies, and the project that the URL names there. */
export type CoveringPath = { instanceId: string; path: string; project: string }

export type CandidateQuery = {
  accessKeyId: string
  organization: string
  covering: CoveringPath[]
  minTtl: number
}
export type Known = { now: Date; budgets: RateBudgets }

/**
 * The connections that cover a path. PostgreSQL plans by average sizes, and would read all connections where a place has
 * many: the limit makes it look each up by its id. In these fragments $1 is the time.
 */
export const AT_PLACE = (
  organization: string,
  isPath = 'place.match_path = covering.path',
) => `connection_places as place
      cross join lateral (select * from connections where id = place.connection_id limit 1) as connections
      where place.instance_id = covering.instance_id and place.organization = ${organization}
        and ${isPath} and ${MAY_USE('connections')}`

/** A token that cannot be refreshed can be served until its end. */
export const IS_SERVABLE = `(connections.status = 'active' and (
  ${IS_REFRESHABLE('connections')}
  or connections.token_expires_at is null or connections.token_expires_at > $1::timestamptz
))`

/** Whether it can live min_ttl without disturbing a lease. */
const IS_UNDISTURBED = (minTtl: string) => `(
  (connections.attempt_id is null and connections.unanswered_since is null and (
    connections.token_expires_at is null or connections.token_expires_at - $1::timestamptz
      >= make_interval(secs => greatest(${minTtl}, ${OUTAGE_MINIMUM_SECONDS}))
  ))
  or (${IS_REFRESHABLE('connections')} and not ${IS_LEASED('connections')})
)`

type Ranking = { minTtl: string; reaches: string; budgets: [string, string] }

/** The order among the connections of the longest path, as in url-match.ts. */
export const RANK = ({ minTtl, reaches, budgets }: Ranking) =>
  `${reaches} desc, ${IS_UNDISTURBED(minTtl)} desc, ${RATE_LEFT(budgets)} desc,
    connections.last_verified_at desc nulls last, connections.id`

export type CandidateRow = {
  id: string
  organization: string
  instance_id: string
  base_url: string
  /** The place by which it covers the URL, as GitLab writes it, and as URLs are matched. */
  path: string
  match_path: string
  name: string | null
  status: ConnectionStatus
  status_detail: string | null
  refreshable: boolean
  attempt_id: string | null
  unanswered_since: Date | null
  token_expires_at: Date | null
  leased: boolean
  last_verified_at: Date | null
  /** The project that the URL names, in lower case; '' = none. */
  project: string
  /** Known to reach it. */
  reaches: boolean
  /** When GitLab refused it there. */
  refused_at: Date | null
  /** What is left of its rate budget, in quarters. */
  rate_left: number
}

const MOST_CANDIDATES = 100
const CANDIDATES: Ranking = { minTtl: '$6::float8', reaches: 'connections.reaches', budgets: ['$8', '$9'] }
const IS_FOUND_ELIGIBLE = `(${IS_SERVABLE} and connections.refused_at is null)`
const CANDIDATE_ORDER = `${IS_FOUND_ELIGIBLE} desc, ${RANK(CANDIDATES)}`

const FIND_CANDIDATES: PreparedStatement = {
  name: 'find-candidates',
  text: `
  select connections.id, connections.organization, connections.instance_id, instances.base_url, connections.path,
    connections.match_path, connections.name, connections.status, connections.status_detail,
    ${IS_REFRESHABLE('connections')} as refreshable,
    connections.attempt_id, connections.unanswered_since, connections.token_expires_at, connections.last_verified_at,
    ${IS_LEASED('connections')} as leased, connections.project, connections.reaches, connections.refused_at,
    ${RATE_LEFT(CANDIDATES.budgets)} as rate_left
  from (
    select distinct on (connections.id) connections.*
    from access_keys
    cross join unnest($4::uuid[], $5::text[], $7::text[]) as covering (instance_id, path, project)
    cross join lateral (
      select connections.* from (
        select connections.*, place.path, place.match_path, covering.project,
          ${REACHES('covering.project')} as reaches, ${REFUSED_AT('covering.project')} as refused_at
        from ${AT_PLACE('$3::text')}
      ) as connections
      order by ${CANDIDATE_ORDER} limit ${MOST_CANDIDATES}
    ) as connections
    where access_keys.id = $2::uuid and ${KEY_IS_VALID}
    order by connections.id, length(connections.match_path) desc
  ) as connections
  join instances on instances.id = connections.instance_id
  order by ${IS_FOUND_ELIGIBLE} desc, length(connections.match_path) desc, ${RANK(CANDIDATES)}
  limit ${MOST_CANDIDATES}`,
}

/** The connections that cover a URL and exist for the key, whatever their status: the best hundred. */
export const findCandidates = (
  run: RunPrepared,
  { accessKeyId, organization, covering, minTtl }: CandidateQuery,
  { now, budgets }: Known,
): Promise<CandidateRow[]> =>
  run<CandidateRow>(FIND_CANDIDATES, [
    now,
    accessKeyId,
    organization,
    arrayOf(covering.map(({ instanceId }) => instanceId)),
    covering.map(({ path }) => path),
    minTtl,
    covering.map(({ project }) => project),
    arrayOf(budgets.ids),
    arrayOf(budgets.left),
  ])
