import { sql } from 'kysely'
import type { Database } from '../../db/database.ts'
import type { LeaseTableRow } from '../../db/tables.ts'
import { firstIdAt } from '../lease-id.ts'

/** The record of who got which token: what an auditor reads of the leases. */

export type LeaseFilter = {
  /** undefined = of all. */
  organizations: string[] | undefined
  connectionId: string | undefined
  accessKeyId: string | undefined
  /** From this time on, to before that. */
  from: Date | undefined
  to: Date | undefined
  /** The id at which the page before ended. */
  before: string | undefined
  limit: number
}

const anyOf = (organizations: string[] | undefined) =>
  organizations === undefined ? [] : [sql`organization = any (${organizations}::text[])`]

const conditionsOf = ({ organizations, connectionId, accessKeyId, from, to, before }: LeaseFilter) =>
  sql.join(
    [
      sql`true`,
      ...anyOf(organizations),
      ...(connectionId === undefined ? [] : [sql`connection_id = ${connectionId}::uuid`]),
      ...(accessKeyId === undefined ? [] : [sql`access_key_id = ${accessKeyId}::uuid`]),
      // A lease does not end before it was given: this lets the index of a connection leave out the older ones.
      ...(from === undefined
        ? []
        : [sql`granted_at >= ${from}::timestamptz and expires_at >= ${from}::timestamptz`]),
      ...(to === undefined ? [] : [sql`granted_at < ${to}::timestamptz`]),
      ...(before === undefined ? [] : [sql`id < ${before}::uuid`]),
    ],
    sql` and `,
  )

const slotConditionsOf = ({ organizations, accessKeyId, from, to, before }: LeaseFilter) =>
  sql.join(
    [
      sql`true`,
      ...anyOf(organizations),
      ...(accessKeyId === undefined ? [] : [sql`access_key_id = ${accessKeyId}::uuid`]),
      ...(from === undefined ? [] : [sql`granted_to >= ${from}::timestamptz`]),
      ...(to === undefined ? [] : [sql`granted_from < ${to}::timestamptz`]),
      ...(before === undefined ? [] : [sql`first_id < ${before}::uuid`]),
    ],
    sql` and `,
  )

/** The least and the greatest of ids: PostgreSQL has min and max of uuid from 18 on. */
const least = (id: string) => sql`(array_agg(${sql.ref(id)} order by ${sql.ref(id)}))[1]`
const greatest = (id: string) => sql`(array_agg(${sql.ref(id)} order by ${sql.ref(id)} desc))[1]`

/** The UUIDv7 of the time at which the newest slot ends, with zeros behind it. Slots list the leases with ids below it. */
const END_OF_SLOTS = sql`coalesce(
  (select rpad(lpad(to_hex((extract(epoch from max(slot) + interval '10 minutes') * 1000)::bigint), 12, '0'), 32, '0')::uuid
    from lease_slots),
  '00000000-0000-0000-0000-000000000000'::uuid
)`

/** The slot at the end of the page before, and that at the end of the time asked for, may have nothing that fits. */
const SLOTS_AT_EDGES = 2

/**
 * The newest first. Those of a connection are read by its index. All others by the slots: each that fits has a lease that
 * fits, so as many slots as the page has rows are enough.
 */
export const listLeasesQuery = (filter: LeaseFilter) => {
  const { connectionId, limit } = filter
  const page = sql`select * from leases where ${conditionsOf(filter)}`
  if (connectionId !== undefined) return sql<LeaseTableRow>`${page} order by id desc limit ${limit}`
  return sql<LeaseTableRow>`
    with slots as (
      select ${least('first_id')} as first_id, ${greatest('last_id')} as last_id
      from lease_slots where ${slotConditionsOf(filter)}
      group by slot order by slot desc limit ${limit + SLOTS_AT_EDGES}
    ), ranges as (
      select first_id, last_id from slots
      union all
      select ${END_OF_SLOTS}, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid
    )
    select lease.* from ranges
    cross join lateral (
      ${page} and id >= ranges.first_id and id <= ranges.last_id order by id desc limit ${limit}
    ) as lease
    order by id desc limit ${limit}`
}

export const listLeases = async (db: Database, filter: LeaseFilter): Promise<LeaseTableRow[]> =>
  (await listLeasesQuery(filter).execute(db)).rows

/** From a time on, by the time in the ids; from the beginning when there is none. */
export const findOldestLeaseId = async (db: Database, from?: Date): Promise<string | undefined> => {
  const query = db.selectFrom('leases').select('id').orderBy('id').limit(1)
  return (await (from ? query.where('id', '>=', firstIdAt(from)) : query).executeTakeFirst())?.id
}

export const findNewestSlot = async (db: Database): Promise<Date | undefined> =>
  (await db.selectFrom('lease_slots').select('slot').orderBy('slot', 'desc').limit(1).executeTakeFirst())
    ?.slot

/** Notes which leases there are of a slot. Twice is as good as once. */
export const insertSlot = async (db: Database, slot: Date, end: Date): Promise<void> => {
  await sql`
    insert into lease_slots
    select organization, ${slot}::timestamptz, access_key_id, ${least('id')}, ${greatest('id')}, min(granted_at), max(granted_at)
    from leases where id >= ${firstIdAt(slot)}::uuid and id < ${firstIdAt(end)}::uuid
    group by organization, access_key_id
    on conflict do nothing
  `.execute(db)
}

export const deleteSlotsBefore = async (db: Database, time: Date): Promise<void> => {
  await db.deleteFrom('lease_slots').where('slot', '<', time).execute()
}

/** What never changes of a lease once its handle, if it has one, is too old to open: not when it ends, was released or rejected. */
const CANONICAL = sql`jsonb_build_array(
  id, connection_id, organization, token_version, access_key_id, subject, purpose,
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

export const hasLeaseBefore = async (db: Database, time: Date): Promise<boolean> =>
  (await db
    .selectFrom('leases')
    .select('id')
    .where('id', '<', firstIdAt(time))
    .limit(1)
    .executeTakeFirst()) !== undefined

/** One statement stays far below the time limit, however many leases are old. */
const LEASES_AT_ONCE = 10_000

/** Ids begin with the time of the lease (UUIDv7): the primary key finds the old ones. @returns how many rows went. */
export const deleteLeasesBefore = async (db: Database, time: Date): Promise<number> => {
  const oldest = db
    .selectFrom('leases')
    .select('id')
    .where('id', '<', firstIdAt(time))
    .orderBy('id')
    .limit(LEASES_AT_ONCE)
  let total = 0
  for (;;) {
    const { numDeletedRows } = await db
      .deleteFrom('leases')
      .where('id', 'in', oldest)
      .executeTakeFirstOrThrow()
    total += Number(numDeletedRows)
    if (numDeletedRows < LEASES_AT_ONCE) return total
  }
}
