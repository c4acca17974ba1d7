import { type RawBuilder, sql } from 'kysely'
import type { Database } from '../db/database.ts'

/** What connections reach, as callers list it. */

export type ProjectFilter = {
  /** A part of the path that begins with a word of it, in any case. */
  search: string | undefined
  archived: boolean | undefined
  /** Active at GitLab after this time. */
  pushedAfter: Date | undefined
}

export type ProjectRow = {
  id: string
  base_url: string
  path: string
  name: string | null
  visibility: string | null
  archived: boolean
  default_branch: string | null
  last_activity_at: Date | null
  size_bytes: string | null
  missing_since: Date | null
}

export type GroupRow = Pick<
  ProjectRow,
  'id' | 'base_url' | 'path' | 'name' | 'visibility' | 'missing_since'
> & {
  parent_id: string | null
}

/** As `like` takes it, anywhere in the path. */
const patternOf = (search: string): string => `%${search.toLowerCase().replace(/[\\%_]/g, '\\$&')}%`

const matching = (search: string | undefined): RawBuilder<unknown>[] =>
  search === undefined ? [] : [sql`match_path like ${patternOf(search)}`]

/** As the index connection_projects_by_words has it. */
const WORDS = sql`array_to_tsvector(array_remove(string_to_array(translate(match_path, '/-_.', '    '), ' '), ''))`

/** The index finds paths with words that begin so; of these the pattern leaves those in which they stand together. */
const matchingProjects = (search: string | undefined): RawBuilder<unknown>[] => {
  const words = search?.toLowerCase().match(/[a-z0-9]+/g) ?? []
  const query = words.map((word) => `${word}:*`).join(' & ')
  return [...(query === '' ? [] : [sql`${WORDS} @@ ${query}::tsquery`]), ...matching(search)]
}

const conditionsOf = ({ search, archived, pushedAfter }: ProjectFilter): RawBuilder<unknown>[] => [
  ...matchingProjects(search),
  ...(archived === undefined ? [] : [sql`archived = ${archived}`]),
  ...(pushedAfter === undefined ? [] : [sql`last_activity_at > ${pushedAfter}::timestamptz`]),
]

const all = (conditions: RawBuilder<unknown>[]): RawBuilder<unknown> => sql.join(conditions, sql` and `)

const isMissing = (missing: boolean | undefined): RawBuilder<unknown>[] =>
  missing === undefined ? [] : [missing ? sql`missing_since is not null` : sql`missing_since is null`]

const PROJECT = sql`item.project_id::text as id, item.path, item.name, item.visibility, item.archived,
  item.default_branch, item.last_activity_at, item.size_bytes::text as size_bytes, item.missing_since`

export type Listed = { connectionId: string; organization: string; after: string | undefined; limit: number }

/** The projects of a connection by their ids, along the primary key. */
export const listProjectsQuery = ({
  connectionId,
  organization,
  after = '0',
  limit,
  missing,
  ...filter
}: Listed & ProjectFilter & { missing: boolean | undefined }) =>
  sql<ProjectRow>`
    select ${PROJECT}, instances.base_url from (
      select * from connection_projects
      where ${all([
        sql`connection_id = ${connectionId}::uuid and organization = ${organization} and project_id > ${after}::bigint`,
        ...conditionsOf(filter),
        ...isMissing(missing),
      ])}
      order by project_id limit ${limit}
    ) as item
    join instances on instances.id = item.instance_id
    order by item.project_id`

export const listProjects = async (
  db: Database,
  filter: Parameters<typeof listProjectsQuery>[0],
): Promise<ProjectRow[]> => (await listProjectsQuery(filter).execute(db)).rows

export const listGroups = async (
  db: Database,
  {
    connectionId,
    after = '0',
    limit,
    search,
    missing,
  }: Omit<Listed, 'organization'> & {
    search: string | undefined
    missing: boolean | undefined
  },
): Promise<GroupRow[]> => {
  const { rows } = await sql<GroupRow>`
    select item.group_id::text as id, instances.base_url, item.path, item.name, item.visibility,
      item.parent_id::text as parent_id, item.missing_since
    from connection_groups as item
    join connections on connections.id = item.connection_id
    join instances on instances.id = connections.instance_id
    where ${all([
      sql`item.connection_id = ${connectionId}::uuid and item.group_id > ${after}::bigint`,
      ...matching(search),
      ...isMissing(missing),
    ])}
    order by item.group_id limit ${limit}`.execute(db)
  return rows
}

/** Where a page of projects across connections ended. */
export type ReachedCursor = { organization: string; instanceId: string; projectId: string }

export type ReachedProjectRow = ProjectRow & {
  organization: string
  instance_id: string
  connection_ids: string[]
}

type Reached = ProjectFilter & {
  /** undefined = every organization. */
  organizations: string[] | undefined
  after: ReachedCursor | undefined
  limit: number
}

const startingAfter = ({ organization, instanceId, projectId }: ReachedCursor): RawBuilder<unknown> =>
  sql`(organization, instance_id, project_id) > (${organization}, ${instanceId}::uuid, ${projectId}::bigint)`

/** Each project of an organization once, however many of its connections reach it; without those that are missing. */
export const listReachedProjectsQuery = ({ organizations, after, limit, ...filter }: Reached) =>
  sql<ReachedProjectRow>`
    with page as (
      select organization, instance_id, project_id from connection_projects
      where ${all([
        sql`missing_since is null`,
        ...(organizations === undefined ? [] : [sql`organization = any (${organizations}::text[])`]),
        ...(after === undefined ? [] : [startingAfter(after)]),
        ...conditionsOf(filter),
      ])}
      group by organization, instance_id, project_id
      order by organization, instance_id, project_id
      limit ${limit}
    )
    select ${PROJECT}, page.organization, page.instance_id::text as instance_id, instances.base_url, item.connection_ids
    from page
    join instances on instances.id = page.instance_id
    cross join lateral (
      select ((array_agg(reached order by last_activity_at desc nulls last, connection_id))[1]).*,
        array_agg(reached.connection_id::text order by connection_id) as connection_ids
      from connection_projects as reached
      where reached.organization = page.organization and reached.instance_id = page.instance_id
        and reached.project_id = page.project_id and reached.missing_since is null
    ) as item
    order by page.organization, page.instance_id, page.project_id`

export const listReachedProjects = async (db: Database, filter: Reached): Promise<ReachedProjectRow[]> =>
  (await listReachedProjectsQuery(filter).execute(db)).rows

const DELETED_AT_ONCE = 5_000

/** Some of those that GitLab has not listed since before this time. The condition stands twice: what is listed again stays. */
export const deleteMissingProjects = (time: Date) => sql`
  delete from connection_projects where missing_since < ${time} and (connection_id, project_id) in (
    select connection_id, project_id from connection_projects where missing_since < ${time}
    order by missing_since limit ${DELETED_AT_ONCE}
  )`

const deleteMissingGroups = (time: Date) => sql`
  delete from connection_groups where missing_since < ${time} and (connection_id, group_id) in (
    select connection_id, group_id from connection_groups where missing_since < ${time}
    order by missing_since limit ${DELETED_AT_ONCE}
  )`

/** @returns how many projects and groups went. */
export const deleteMissingBefore = async (db: Database, time: Date): Promise<number> => {
  let total = 0
  for (const statement of [deleteMissingProjects(time), deleteMissingGroups(time)])
    for (let deleted = DELETED_AT_ONCE; deleted === DELETED_AT_ONCE; total += deleted) {
      const { numAffectedRows = 0n } = await statement.execute(db)
      deleted = Number(numAffectedRows)
    }
  return total
}
