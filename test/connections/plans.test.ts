import { CompiledQuery, Kysely, PostgresDialect, sql } from 'kysely'
import pg from 'pg'
import t from 'tap'
import { v7 as uuidv7 } from 'uuid'
import { type ConnectionFilter, listConnections } from '../../src/connections/queries.ts'
import type { Database } from '../../src/db/database.ts'
import type { Tables } from '../../src/db/tables.ts'
import {
  findConnectionsToCheck,
  findConnectionsToLookAt,
  findConnectionsToMend,
  findConnectionsToRotate,
  markExpired,
} from '../../src/token-lifecycle/upkeep/queries.ts'
import { findTellingConnections } from '../../src/weather/queries.ts'
import { createTestDatabase } from '../support/database.ts'

const CONNECTIONS = 100_000
const AT_ONCE = 10_000
const NOW = new Date('2026-11-02T10:30:00Z')
const GITLAB_COM = '01900000-0000-7000-8000-000000000001'
/** A page of a hundred connections, whose rows lie apart, and what leads to them. A table of this size has 10,000 blocks. */
const MOST_BLOCKS = 700

type Plan = { 'Node Type': string; 'Relation Name'?: string; Plans?: Plan[] } & Record<string, unknown>

const scansOf = (plan: Plan): string[] => [
  ...(plan['Node Type'] === 'Seq Scan' && plan['Relation Name'] === 'connections'
    ? [String(plan['Relation Name'])]
    : []),
  ...(plan.Plans ?? []).flatMap(scansOf),
]

/** 100,000 connections that work, of 300 organizations, nearly all at gitlab.com; the last ones are what somebody looks for. */
const seed = async (db: Database) => {
  await sql`
    insert into instances (id, base_url, name, created_at, updated_at)
    select gen_random_uuid(), 'https://gitlab-' || number || '.example.com', 'GitLab', now(), now()
    from generate_series(1, 50) as number`.execute(db)
  for (let from = 1; from < CONNECTIONS; from += AT_ONCE)
    await sql`
    insert into connections (
      id, organization, instance_id, method, token_kind, group_path, gitlab_user_id, status, status_reason, scopes,
      token_version, access_token, auto_rotate, token_issued_at, token_expires_at, failing_since, created_at, updated_at
    )
    select gen_random_uuid(), 'org-' || number % 300,
      case when number % 5000 = 0 then (select id from instances where base_url = 'https://gitlab-7.example.com')
        else ${GITLAB_COM}::uuid end,
      'token', 'personal_access_token', 'group-' || number, number::text,
      case when number % 20000 = 1 then 'needs_reauthorization' when number % 20000 = 2 then 'revoked'
        when number % 20000 = 3 then 'expired' else 'active' end,
      case when number % 20000 = 1 then 'user_blocked' end,
      '{read_api}', 1, repeat('x', 400), number % 2 = 0, ${NOW}::timestamptz - interval '90 days',
      ${NOW}::timestamptz + case when number % 20000 = 4 then interval '-1 minute'
        when number % 20000 = 6 then interval '1 day' else interval '200 days' end,
      case when number % 20000 = 5 then ${NOW}::timestamptz end, now(), now()
    from generate_series(${from}::int, ${from + AT_ONCE - 1}::int) as number`.execute(db)
  await sql`
    insert into connection_places (
      connection_id, instance_id, organization, kind, gitlab_id, path, match_path, look_due_at
    )
    select id, instance_id, organization, 'group', gitlab_user_id::bigint, group_path, group_path,
      ${NOW}::timestamptz - case when gitlab_user_id::int % 10000 = 7 then interval '1 day' else interval '-1 hour' end
    from connections on conflict do nothing`.execute(db)
  await sql`vacuum analyze`.execute(db)
}

t.test('no page of connections and no job reads the table, whatever it looks for', async (t) => {
  const { db, url } = await createTestDatabase(t)
  await seed(db)
  const sent: CompiledQuery[] = []
  const watched = new Kysely<Tables>({
    dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: url, max: 1 }) }),
    log: ({ query }) => void sent.push(query),
  })
  t.teardown(() => watched.destroy())

  const planOf = async (ask: () => Promise<unknown>): Promise<{ plan: Plan; blocks: number }> => {
    sent.length = 0
    await ask()
    const { sql: text, parameters } = sent.find((query) => query.sql.includes('connections'))!
    const { rows } = await db.executeQuery<{ 'QUERY PLAN': [{ Plan: Plan }] }>(
      CompiledQuery.raw(`explain (analyze, buffers, timing off, format json) ${text}`, [...parameters]),
    )
    const [{ Plan: plan }] = rows[0]!['QUERY PLAN']
    return { plan, blocks: Number(plan['Shared Hit Blocks']) + Number(plan['Shared Read Blocks']) }
  }

  const every: ConnectionFilter = { organizations: undefined, after: undefined, limit: 101, now: NOW }
  const list = (filter: Partial<ConnectionFilter>) => () => listConnections(watched, { ...every, ...filter })
  const one = { organizations: ['org-7'] }
  const CASES: [string, () => Promise<unknown>][] = [
    ['all', list({})],
    ['a page', list({ after: uuidv7() })],
    ['active ones', list({ status: 'active' })],
    ['those that a person has to mend', list({ status: 'needs_reauthorization' })],
    ['expired ones', list({ status: 'expired' })],
    ['revoked ones', list({ status: 'revoked' })],
    ['an organization', list(one)],
    ['those that a person of an organization has to mend', list({ ...one, status: 'needs_reauthorization' })],
    ['expired ones of an organization', list({ ...one, status: 'expired' })],
    ['a small instance', list({ baseUrl: 'https://gitlab-7.example.com' })],
    ['an instance without connections', list({ baseUrl: 'https://gitlab-8.example.com' })],
    ['an unknown instance', list({ baseUrl: 'https://gitlab-99.example.com' })],
    ['a label that nobody has', list({ label: { name: 'team', value: undefined } })],
    ['a value that nobody has', list({ label: { name: 'team', value: 'web' } })],
    ['an organization that does not exist', list({ organizations: ['nobody'] })],
    ['job: to mend', () => findConnectionsToMend(watched, NOW, 100)],
    ['job: owners to look at', () => findConnectionsToCheck(watched, NOW, 100)],
    [
      'job: to rotate',
      () => findConnectionsToRotate(watched, { now: NOW, withinSeconds: 7 * 86_400, limit: 100 }),
    ],
    ['job: names to look at', () => findConnectionsToLookAt(watched, NOW, 100)],
    ['job: conditions of an instance', () => findTellingConnections(watched, GITLAB_COM, NOW)],
    ['job: reached their end', () => markExpired(watched, new Date(NOW.getTime() - 86_400_000))],
  ]
  for (const [what, ask] of CASES) {
    const { plan, blocks } = await planOf(ask)
    t.strictSame(scansOf(plan), [], `${what}: no sequential scan`)
    t.ok(blocks <= MOST_BLOCKS, `${what}: ${blocks} blocks`)
  }

  t.equal((await list({ status: 'needs_reauthorization' })()).length, 5)
  t.equal((await list({ status: 'expired' })()).length, 10, 'marked, or past their end')
  t.equal((await list({ baseUrl: 'https://gitlab-7.example.com' })()).length, 20)
})
