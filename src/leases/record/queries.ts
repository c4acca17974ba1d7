import { sql } from 'kysely'
import type { Database } from '../../db/database.ts'
import type { LeaseTableRow } from '../../db/tables.ts'
import type { TimeRange } from '../../http/time-page.ts'
import { firstIdAt } from '../queries.ts'

/** The record of who got which token: what an auditor reads of the leases. */

export type LeaseFilter = TimeRange & {
  /** undefined = of all. */
  organizations: string[] | undefined
  connectionId: string | undefined
  accessKeyId: string | undefined
  limit: number
}

const conditionsOf = ({ connectionId, accessKeyId, from, to, before }: LeaseFilter) =>
  sql.join(
    [
      sql`true`,
      ...(connectionId === undefined ? [] : [sql`connection_id = ${connectionId}::uuid`]),
      ...(accessKeyId === undefined ? [] : [sql`access_key_id = ${accessKeyId}::uuid`]),
      // A lease does not end before it was given: this lets the index of a connection leave out the older ones.
      ...(from === undefined
        ? []
        : [sql`granted_at >= ${from}::timestamptz and expires_at >= ${from}::timestamptz`]),
      ...(to === undefined ? [] : [sql`granted_at < ${to}::timestamptz`]),
      ...(before === undefined
        ? []
        : [sql`(granted_at, id) < (${before.at}::timestamptz, ${before.id}::uuid)`]),
    ],
    sql` and `,
  )

/** Each organization that has leases, by one probe of the index for each: there is no other list of them. */
const EVERY_ORGANIZATION = sql`(
  with recursive next as (
    select min(organization) as organization from leases
    union all
    select (select min(organization) from leases where leases.organization > next.organization)
    from next where next.organization is not null
  )
  select organization from next where organization is not null
)`

/**
 * The newest first. Each organization is read by the one index that the record has, and then the newest of all are taken:
 * every further index would make every lookup dearer.
 */
export const listLeasesQuery = (filter: LeaseFilter) => {
  const { organizations, limit } = filter
  const asked =
    organizations === undefined
      ? EVERY_ORGANIZATION
      : sql`(select unnest(${organizations}::text[]) as organization)`
  return sql<LeaseTableRow>`
    select lease.* from ${asked} as asked
    cross join lateral (
      select * from leases where leases.organization = asked.organization and ${conditionsOf(filter)}
      order by granted_at desc, id desc limit ${limit}
    ) as lease
    order by lease.granted_at desc, lease.id desc limit ${limit}`
}

export const listLeases = async (db: Database, filter: LeaseFilter): Promise<LeaseTableRow[]> =>
  (await listLeasesQuery(filter).execute(db)).rows

export const findLeaseRecord = (db: Database, id: string): Promise<LeaseTableRow | undefined> =>
  db.selectFrom('leases').selectAll().where('id', '=', id).executeTakeFirst()

export const findOldestLeaseId = async (db: Database): Promise<string | undefined> =>
  (await db.selectFrom('leases').select('id').orderBy('id').limit(1).executeTakeFirst())?.id

/** What never changes of a lease: not when it ends, was released or rejected. */
const CANONICAL = sql`jsonb_build_array(
  id, connection_id, organization, token_version, access_key_id, purpose,
  to_char(granted_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')
)::text`

export type LeaseBatch = { count: number; last: string; sha256: string }

/** A hash over the next leases in the order of their ids, made where they are. undefined = there are no more. */
export const digestLeases = async (
  db: Database,
  { after, from, to, limit }: { after: string | undefined; from: Date; to: Date; limit: number },
): Promise<LeaseBatch | undefined> => {
  const start = after === undefined ? sql`id >= ${firstIdAt(from)}::uuid` : sql`id > ${after}::uuid`
  const { rows } = await sql<{ count: number; last: string | null; sha256: string | null }>`
    select count(*)::float8 as count, (array_agg(id order by id desc))[1] as last,
      encode(sha256(convert_to(string_agg(line, E'\n' order by id), 'UTF8')), 'hex') as sha256
    from (
      select id, ${CANONICAL} as line from leases
      where ${start} and id < ${firstIdAt(to)}::uuid order by id limit ${limit}
    ) as batch
  `.execute(db)
  const [row] = rows
  return row?.last && row.sha256 ? { count: row.count, last: row.last, sha256: row.sha256 } : undefined
}
