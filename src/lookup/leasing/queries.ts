import type { PreparedStatement, RunPrepared } from '../../db/database.ts'
import type { LeaseRequest, LeaseRow } from '../../leases/lease.ts'
import {
  arrayOf,
  HAS_ID,
  KEY_IS_VALID,
  leaseStatement,
  MAY_USE,
  REQUEST_COLUMNS,
  REQUEST_PARAMETERS,
  runLeaseStatement,
} from '../../leases/queries.ts'
import type { Heartbeat } from '../../token-lifecycle/history/queries.ts'
import type { Match } from '../directories.ts'
import {
  AT_PLACE,
  type CandidateQuery,
  type CoveringPath,
  DIRECTORY_VERSION,
  INSTANCES_VERSION,
  IS_SERVABLE,
  RANK,
} from '../queries.ts'
import { IS_ANY_REFUSED, type RateBudgets, REACHES, REFUSED_AT } from '../reach/queries.ts'

/** @property version of the instances alone, when the URL was located; that of a match has the directory's in it */
export type Search = CandidateQuery & { version: number }
/** Of the connection that a directory names, or of the one that the statement finds. */
export type UrlLeaseRequest = LeaseRequest & ({ match: Match } | { search: Search })

/** With what the database knows now of instances and directory: memory that has other versions is out of date. */
export type UrlLeaseRow = LeaseRow & {
  on_instance: string
  /** The connection that was found is locked; of a locked match there is no row. */
  is_locked: boolean
  instances_version: number
  directory_version: number
  /** Known to reach the project; null for a match. */
  reaches: boolean | null
  /** There are others of the same path; or some that would win, had GitLab not refused them. Null for a match. */
  has_rivals: boolean | null
}

/** The paths of one request, from texts with a line for each; a slash before each path, since one may be empty. */
const COVERING = `(
      select line.instance_id::uuid as instance_id, substr(line.path, 2) as path, substr(line.project, 2) as project
      from unnest(
        string_to_array(asked.instance_ids, E'\\n'), string_to_array(asked.paths, E'\\n'),
        string_to_array(asked.projects, E'\\n')
      ) as line (instance_id, path, project)
    ) as covering`

/** Servable, and not refused by GitLab at the project. */
const IS_ELIGIBLE = `(${IS_SERVABLE} and ${REFUSED_AT('covering.project')} is null)`

/** A range and its order lead to the index, where an equation and a limit would read the table. */
const ONE_AT_PLACE = `select from
      ${AT_PLACE('asked.organization', 'place.match_path between covering.path and covering.path')} and ${IS_ELIGIBLE}
      order by place.match_path limit 1`

/** It would win, had GitLab not refused it. */
const WOULD_WIN = `length(covering.path) >= longest.length and place.organization = asked.organization
    and ${MAY_USE('connections')} and ${IS_SERVABLE}`

const ORDER = RANK({
  minTtl: 'asked.min_ttl',
  reaches: 'connections.reaches',
  budgets: ['$19', '$20'],
})

/**
 * The fast copy of the rules of url-match.ts. Finds the longest path with a servable connection first, by one row for
 * each path, and ranks the connections of that path alone.
 */
const BEST = `(
    select max(length(covering.path)) as length
    from ${COVERING} cross join lateral (${ONE_AT_PLACE}) as eligible
  ) as longest
  cross join lateral (
    select connections.id, connections.instance_id, connections.reaches, count(*) over () > 1 as has_rivals
    from ${COVERING} cross join lateral (
      select connections.*, ${REACHES('covering.project')} as reaches from ${AT_PLACE('asked.organization')}
        and length(covering.path) = longest.length and ${IS_ELIGIBLE}
    ) as connections
    order by ${ORDER} limit 1
  ) as best`

/** With the table: a later migration may give another one such a column. */
const ASKED = REQUEST_COLUMNS.split(', ')
  .map((column) => `asked.${column}`)
  .join(', ')

const MATCHED = `
    select ${ASKED}, asked.connection_id, asked.instance_id as on_instance, true as is_match,
      null::boolean as reaches, null::boolean as has_rivals, asked.version, (select ${INSTANCES_VERSION}) as instances_version,
      ${DIRECTORY_VERSION('asked.organization', 'asked.instance_id')} as directory_version
    from asked where asked.connection_id is not null`

const FOUND = `
    select ${ASKED}, best.id, best.instance_id, false, best.reaches,
      best.has_rivals or not best.reaches and ${IS_ANY_REFUSED(COVERING, WOULD_WIN)},
      asked.version, (select ${INSTANCES_VERSION}), ${DIRECTORY_VERSION('asked.organization', 'best.instance_id')}
    from asked
    join access_keys on access_keys.id = asked.access_key_id and ${HAS_ID} and ${KEY_IS_VALID}
      and not access_keys.read_only
    cross join lateral ${BEST}
    where asked.connection_id is null`

/** Leases a match as long as it holds, and what is found as long as nothing has to be asked before. */
const leaseChosen = (name: string, chosen: string): PreparedStatement =>
  leaseStatement({
    name,
    request: `asked as materialized (
    select * from unnest(
      ${REQUEST_PARAMETERS}, $11::uuid[], $12::text[], $13::uuid[], $14::float8[], $15::float8[], $16::text[], $17::text[], $18::text[]
    ) as asked (
      ${REQUEST_COLUMNS}, connection_id, organization, instance_id, version, min_ttl, instance_ids, paths, projects
    )
  ), chosen as materialized (${chosen}
  ), request as (
    select *, case when is_match then instances_version + directory_version = version
      else instances_version = version and (reaches or not has_rivals) end as holds
    from chosen
  )`,
    connectionIds: 'array(select connection_id from chosen)',
    condition: 'request.holds',
    more: {
      columns: ['on_instance', 'reaches', 'has_rivals', 'instances_version', 'directory_version'],
      ifLocked: 'not request.is_match',
    },
  })

const LEASE_BY_MATCH = leaseChosen('lease-by-match', MATCHED)
/** Both in one: so many lookups share each statement. PostgreSQL takes longer to begin a large statement, hence the other. */
const LEASE_BY_URL = leaseChosen('lease-by-url', `${MATCHED} union all ${FOUND}`)

export const leaseByUrl = (
  run: RunPrepared,
  requests: UrlLeaseRequest[],
  { now, known, budgets }: { now: Date; known?: Heartbeat | undefined; budgets: RateBudgets },
): Promise<UrlLeaseRow[]> => {
  const asked = requests.map((request) => ('match' in request ? request.match : request.search))
  const matches = requests.map((request) => ('match' in request ? request.match : undefined))
  const searches = requests.map((request) => ('search' in request ? request.search : undefined))
  const lines = (read: (path: CoveringPath) => string) =>
    searches.map((search) => search?.covering.map(read).join('\n') ?? null)
  const hasSearches = searches.some((search) => search !== undefined)
  const values = [
    arrayOf(matches.map((match) => match?.connectionId ?? 'null')),
    asked.map(({ organization }) => organization),
    arrayOf(matches.map((match) => match?.instanceId ?? 'null')),
    arrayOf(asked.map(({ version }) => version)),
  ]
  const sought = hasSearches
    ? [
        arrayOf(searches.map((search) => search?.minTtl ?? 'null')),
        lines(({ instanceId }) => instanceId),
        lines(({ path }) => `/${path}`),
        lines(({ project }) => `/${project}`),
        arrayOf(budgets.ids),
        arrayOf(budgets.left),
      ]
    : ['{}', [], [], []]
  const statement = hasSearches ? LEASE_BY_URL : LEASE_BY_MATCH
  return runLeaseStatement(run, statement, requests, [...values, ...sought], now, known)
}
