import { sql } from 'kysely'
import t from 'tap'
import { v7 as uuidv7 } from 'uuid'
import { type AuditFilter, listAuditEventsQuery } from '../../src/audit/queries.ts'
import type { Database } from '../../src/db/database.ts'
import { type LeaseFilter, listLeasesQuery } from '../../src/leases/record/queries.ts'
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

t.test('a page of leases reads by an index, whatever it is filtered by', async (t) => {
  const { db } = await createTestDatabase(t)
  await sql`
    insert into leases (id, connection_id, organization, token_version, access_key_id, granted_at, expires_at)
    select gen_random_uuid(), ('00000000-0000-7000-8000-' || lpad((number % 3000)::text, 12, '0'))::uuid,
      'org-' || number % 300, 1, ('00000000-0000-7000-8000-' || lpad((number % 500)::text, 12, '0'))::uuid,
      now() - make_interval(secs => number), now() - make_interval(secs => number - 300)
    from generate_series(1, ${ROWS}::int) as number`.execute(db)
  await sql`analyze leases`.execute(db)
  const filter: LeaseFilter = {
    organizations: undefined,
    connectionId: undefined,
    accessKeyId: undefined,
    from: undefined,
    to: undefined,
    before: undefined,
    limit: 21,
  }
  const byOrganization = /leases_by_organization.*\n *Index Cond: .*organization = /
  const CASES: [string, Partial<LeaseFilter>, RegExp][] = [
    ['nothing', {}, byOrganization],
    [
      'a time',
      { from: new Date(Date.now() - 60_000), to: new Date() },
      /leases_by_organization[\s\S]*granted_at >= /,
    ],
    ['a page', { before }, /leases_by_organization[\s\S]*granted_at <= /],
    ['organizations', { organizations: ['org-1', 'org-2'] }, byOrganization],
    [
      'a connection',
      { connectionId: '00000000-0000-7000-8000-000000000007' },
      /leases_by_(connection|organization)/,
    ],
    ['an access key', { accessKeyId: '00000000-0000-7000-8000-000000000007' }, byOrganization],
  ]
  for (const [what, more, index] of CASES) {
    const plan = await planOf(db, listLeasesQuery({ ...filter, ...more }))
    t.match(plan, index, what)
    t.notMatch(plan, /Seq Scan on leases/, `${what}\n${plan}`)
  }
})
