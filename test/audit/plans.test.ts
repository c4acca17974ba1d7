import { type RawBuilder, sql } from 'kysely'
import t from 'tap'
import { v7 as uuidv7 } from 'uuid'
import { type AuditFilter, listAuditEventsQuery } from '../../src/audit/queries.ts'
import type { Database } from '../../src/db/database.ts'
import { type LeaseFilter, listLeases, listLeasesQuery } from '../../src/leases/record/queries.ts'
import { noteLeaseSlots } from '../../src/leases/record/slots.ts'
import { createTestDatabase } from '../support/database.ts'

const ROWS = 30_000

type Query = ReturnType<typeof listAuditEventsQuery> | ReturnType<typeof listLeasesQuery>

const planOf = async (db: Database, query: Query): Promise<string> => {
  const { rows } = await sql<{ 'QUERY PLAN': string }>`explain (costs off) ${query}`.execute(db)
  return rows.map((row) => row['QUERY PLAN']).join('\n')
}

const before = { at: new Date(), id: uuidv7() }

t.test('a page of the audit record reads by an index, whatever it is filtered by', async (t) => {
  const { db } = await createTestDatabase(t)
  await sql`
    insert into audit_events (id, at, organization, action, subject_id, access_key_id)
    select gen_random_uuid(), now() - make_interval(secs => number), 'org-' || number % 300, 'action-' || number % 10,
      (number % 5000)::text, ('00000000-0000-7000-8000-' || lpad((number % 500)::text, 12, '0'))::uuid
    from generate_series(1, ${ROWS}::int) as number`.execute(db)
  await sql`analyze audit_events`.execute(db)
  const filter: AuditFilter = {
    organizations: undefined,
    subjectId: undefined,
    accessKeyId: undefined,
    action: undefined,
    outcome: undefined,
    from: undefined,
    to: undefined,
    before: undefined,
    limit: 21,
  }
  const CASES: [string, Partial<AuditFilter>, RegExp][] = [
    ['nothing', {}, /audit_events_by_time/],
    ['a time', { from: new Date(0), to: new Date() }, /audit_events_by_time.*\n *Index Cond: .*at >= /],
    ['a page', { before }, /audit_events_by_time.*\n *Index Cond: .*ROW\(at, id\) < /],
    [
      'organizations',
      { organizations: ['org-1', 'org-2'] },
      /audit_events_by_organization.*\n *Index Cond: .*organization = /,
    ],
    ['a connection', { subjectId: '7' }, /audit_events_by_subject.*\n *Index Cond: .*subject_id = /],
    ['an access key', { accessKeyId: '00000000-0000-7000-8000-000000000007' }, /audit_events_by_access_key/],
    ['an action', { action: 'action-7', before }, /audit_events_by_action/],
  ]
  for (const [what, more, index] of CASES) {
    const plan = await planOf(db, listAuditEventsQuery({ ...filter, ...more }))
    t.match(plan, index, what)
    t.notMatch(plan, /Seq Scan on audit_events/, what)
  }
})

t.test('a page of leases reads by indexes, whatever it is filtered by', async (t) => {
  const { db } = await createTestDatabase(t)
  await sql`
    insert into leases (id, connection_id, organization, token_version, access_key_id, granted_at, expires_at)
    select
      (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '70008000' || lpad(to_hex(number), 12, '0'))::uuid,
      ('00000000-0000-7000-8000-' || lpad((number % 3000)::text, 12, '0'))::uuid,
      'org-' || number % 300, 1, ('00000000-0000-7000-8000-' || lpad((number % 500)::text, 12, '0'))::uuid,
      at, at + interval '300 seconds'
    from generate_series(1, ${ROWS}::int) as number
    cross join lateral (select now() - make_interval(secs => 60 * number) as at) as time`.execute(db)
  for (let run = 0; run < 10; run += 1) await noteLeaseSlots(db)
  await sql`analyze`.execute(db)
  const filter: LeaseFilter = {
    organizations: undefined,
    connectionId: undefined,
    accessKeyId: undefined,
    from: undefined,
    to: undefined,
    before: undefined,
    limit: 21,
  }
  const key = '00000000-0000-7000-8000-000000000007'
  const LEASES_BY_ID = /leases_pkey.*\n *Index Cond: .*id >= /
  const CASES: [string, Partial<LeaseFilter>, RegExp][] = [
    ['nothing', {}, /lease_slots_by_slot/],
    ['an organization', { organizations: ['org-1'] }, /lease_slots_pkey.*\n *Index Cond: .*organization = /],
    ['organizations', { organizations: ['org-1', 'org-2'] }, /lease_slots_(pkey|by_slot)/],
    ['an access key', { accessKeyId: key }, /lease_slots_by_access_key.*\n *Index Cond: .*access_key_id = /],
    ['a page', { organizations: ['org-1'], before: uuidv7() }, /lease_slots_pkey/],
  ]
  for (const [what, more, slots] of CASES) {
    const plan = await planOf(db, listLeasesQuery({ ...filter, ...more }))
    t.match(plan, slots, what)
    t.match(plan, LEASES_BY_ID, what)
    t.notMatch(plan, /Seq Scan on leases/, what)
  }
  const plan = await planOf(db, listLeasesQuery({ ...filter, connectionId: key }))
  t.match(plan, /leases_by_connection.*\n *Index Cond: .*connection_id = /)

  await t.test('and finds the same as without them', async (t) => {
    const ids = async (more: Partial<LeaseFilter>) =>
      (await listLeases(db, { ...filter, ...more })).map(({ id }) => id)
    const expected = async (condition: RawBuilder<unknown>) => {
      const { rows } = await sql<{ id: string }>`
        select id from leases where ${condition} order by id desc limit 21`.execute(db)
      return rows.map(({ id }) => id)
    }
    const all = await expected(sql`true`)
    t.same(await ids({}), all)
    t.same(await ids({ before: all[7]! }), await expected(sql`id < ${all[7]}::uuid`))
    t.same(
      await ids({ organizations: ['org-1', 'org-7'] }),
      await expected(sql`organization in ('org-1', 'org-7')`),
    )
    t.same(await ids({ accessKeyId: key }), await expected(sql`access_key_id = ${key}::uuid`))
    const [from, to] = [10, 8].map((days) => new Date(Date.now() - days * 86_400_000))
    const within = sql`granted_at >= ${from} and granted_at < ${to}`
    t.same(await ids({ from, to }), await expected(within))
    t.same(
      await ids({ from, to, organizations: ['org-1'] }),
      await expected(sql`${within} and organization = 'org-1'`),
    )
    t.same(
      await ids({ from, to, connectionId: key }),
      await expected(sql`${within} and connection_id = ${key}::uuid`),
    )
  })
})
