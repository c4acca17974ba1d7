import { CompiledQuery, sql } from 'kysely'
import t from 'tap'
import type { Database } from '../../src/db/database.ts'
import {
  deleteMissingProjects,
  listProjectsQuery,
  listReachedProjectsQuery,
} from '../../src/projects/queries.ts'
import { createTestDatabase } from '../support/database.ts'

const PROJECTS = 100_000
const OTHERS = 2_000
const AT_ONCE = 10_000
const GITLAB_COM = '01900000-0000-7000-8000-000000000001'
const ID = '019ab1c0-5a2e-7c3b-9b1e-00000000000'
const NOW = new Date('2026-11-02T10:30:00Z')

type Plan = { 'Node Type': string; 'Relation Name'?: string; Plans?: Plan[] }

const scansOf = (plan: Plan): string[] => [
  ...(plan['Node Type'] === 'Seq Scan' && plan['Relation Name'] !== 'instances'
    ? [String(plan['Relation Name'])]
    : []),
  ...(plan.Plans ?? []).flatMap(scansOf),
]

/** One connection that reaches nearly all, and five that reach some. */
const seed = async (db: Database) => {
  for (let number = 0; number < 6; number += 1) {
    const organization = number < 4 ? 'acme' : 'globex'
    await sql`
      insert into connections (id, organization, instance_id, method, token_kind, group_path, gitlab_user_id, status,
        scopes, token_version, access_token, auto_rotate, token_issued_at, created_at, updated_at)
      values (${`${ID}${number}`}, ${organization}, ${GITLAB_COM}, 'token', 'personal_access_token', '', ${String(number)},
        'active', '{read_api}', 1, 'x', false, now(), now(), now())`.execute(db)
    const last = number === 0 ? PROJECTS : OTHERS
    for (let from = 1; from <= last; from += AT_ONCE)
      await sql`
        insert into connection_projects (connection_id, project_id, organization, instance_id, path, match_path,
          archived, last_activity_at, seen_run)
        select ${`${ID}${number}`}, project, ${organization}, ${GITLAB_COM}, 'group-' || project % 300 || '/project-' || project,
          'group-' || project % 300 || '/project-' || project, project % 50 = 0,
          ${NOW}::timestamptz - make_interval(mins => project), 1
        from generate_series(${from}::int, ${Math.min(last, from + AT_ONCE - 1)}::int) as project`.execute(db)
  }
  await sql`vacuum analyze`.execute(db)
}

t.test('a page of projects is read by index, whatever it looks for', async (t) => {
  const { db } = await createTestDatabase(t)
  await seed(db)
  const every = { search: undefined, archived: undefined, pushedAfter: undefined, limit: 101 }
  const recently = new Date(NOW.getTime() - 600_000)
  const filters = [
    {},
    { search: 'project-99999' },
    { search: 'nowhere' },
    { archived: true },
    { pushedAfter: recently },
    { pushedAfter: NOW },
    { search: 'project', archived: false, pushedAfter: recently },
  ]
  for (const filter of filters) {
    const asked = { ...every, ...filter }
    const queries = {
      large: listProjectsQuery({
        ...asked,
        connectionId: `${ID}0`,
        organization: 'acme',
        after: undefined,
        missing: undefined,
      }),
      small: listProjectsQuery({
        ...asked,
        connectionId: `${ID}1`,
        organization: 'acme',
        after: '5',
        missing: false,
      }),
      organization: listReachedProjectsQuery({ ...asked, organizations: ['acme'], after: undefined }),
      onwards: listReachedProjectsQuery({
        ...asked,
        organizations: ['acme'],
        after: { organization: 'acme', instanceId: GITLAB_COM, projectId: '50000' },
      }),
      all: listReachedProjectsQuery({ ...asked, organizations: undefined, after: undefined }),
      old: deleteMissingProjects(NOW),
    }
    for (const [what, query] of Object.entries(queries)) {
      const { sql: text, parameters } = query.compile(db)
      const explained = CompiledQuery.raw(`explain (analyze, timing off, format json) ${text}`, [
        ...parameters,
      ])
      const { rows } = await db.executeQuery<{ 'QUERY PLAN': [{ Plan: Plan; 'Execution Time': number }] }>(
        explained,
      )
      const [{ Plan: plan, 'Execution Time': ms }] = rows[0]!['QUERY PLAN']
      t.strictSame(scansOf(plan), [], `${what} ${JSON.stringify(filter)}: no sequential scan`)
      t.comment(`${what} ${JSON.stringify(filter)}: ${ms} ms`)
    }
  }
})
