import type { PreparedStatement, RunPrepared } from '../../db/database.ts'
import { arrayOf, HAS_ID, KEY_IS_VALID, MAY_USE } from '../../leases/queries.ts'
import {
  AT_PLACE,
  type CandidateQuery,
  type CoveringPath,
  DIRECTORY_VERSION,
  INSTANCES_VERSION,
  IS_SERVABLE,
  type Known,
  RANK,
} from '../queries.ts'
import { IS_ANY_REFUSED, REACHES, REFUSED_AT } from '../reach/queries.ts'

/** The connection that a URL gets by the rules, and by which versions of instances and directory. */
export type Best = {
  connection_id: string
  on_instance: string
  instances_version: number
  directory_version: number
  /** Known to reach the project. */
  reaches: boolean
  /** There are others of the same path; or some that would win, had GitLab not refused them. */
  has_rivals: boolean
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
  budgets: ['$9', '$10'],
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

/** $1 is the time and $5 the ids of the keys, as in the fragments. */
const FIND_BEST: PreparedStatement = {
  name: 'find-best',
  text: `
  select asked.number, best.id as connection_id, best.instance_id as on_instance,
    (select ${INSTANCES_VERSION}) as instances_version,
    ${DIRECTORY_VERSION('asked.organization', 'best.instance_id')} as directory_version,
    best.reaches, best.has_rivals or not best.reaches and ${IS_ANY_REFUSED(COVERING, WOULD_WIN)} as has_rivals
  from unnest($2::int[], $3::text[], $4::float8[], $5::uuid[], $6::text[], $7::text[], $8::text[])
    as asked (number, organization, min_ttl, access_key_id, instance_ids, paths, projects)
  join access_keys on access_keys.id = asked.access_key_id and ${HAS_ID} and ${KEY_IS_VALID}
    and not access_keys.read_only
  cross join lateral ${BEST}`,
}

/** For each query the best connection; undefined = none can be served, or the access key is gone. */
export const findBest = async (
  run: RunPrepared,
  queries: CandidateQuery[],
  { now, budgets }: Known,
): Promise<(Best | undefined)[]> => {
  const lines = (read: (path: CoveringPath) => string) =>
    queries.map(({ covering }) => covering.map(read).join('\n'))
  const rows = await run<Best & { number: number }>(FIND_BEST, [
    now,
    arrayOf(queries.map((_, number) => number)),
    queries.map(({ organization }) => organization),
    arrayOf(queries.map(({ minTtl }) => minTtl)),
    arrayOf(queries.map(({ accessKeyId }) => accessKeyId)),
    lines(({ instanceId }) => instanceId),
    lines(({ path }) => `/${path}`),
    lines(({ project }) => `/${project}`),
    arrayOf(budgets.ids),
    arrayOf(budgets.left),
  ])
  const found = new Map(rows.map(({ number, ...best }) => [number, best]))
  return queries.map((_, number) => found.get(number))
}
