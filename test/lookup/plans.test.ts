import { sql } from 'kysely'
import t from 'tap'
import { v7 as uuidv7 } from 'uuid'
import type { RunPrepared } from '../../src/db/database.ts'
import { leaseById } from '../../src/leases/queries.ts'
import { findBest } from '../../src/lookup/best/queries.ts'
import { leaseByMatch } from '../../src/lookup/leasing/queries.ts'
import { findCandidates, findDirectory } from '../../src/lookup/queries.ts'
import { createTestDatabase } from '../support/database.ts'

const GITLAB_COM = '01900000-0000-7000-8000-000000000001'
const CONNECTIONS = 20_000
/** The whole condition in the index: nothing is read to be thrown away. */
const BY_PATH =
  /connection_places_by_path\b.*\n *Index Cond: .*instance_id = .*organization = .*match_path (=|>=) /
const BY_ORGANIZATION = /connection_places_by_path\b.*\n *Index Cond: .*instance_id = .*organization = /

const SHAPES = {
  'on several instances, most limited to a group': {
    instance: sql`case when number % 2 = 0 then ${GITLAB_COM}::uuid
      else (select id from instances where name = 'GitLab' order by id offset number % 50 limit 1) end`,
    group: sql`case when number % 10 = 0 then '' else 'group-' || number end`,
  },
  'on one instance, nearly all without a group': {
    instance: sql`${GITLAB_COM}::uuid`,
    group: sql`case when number % 1000 = 0 then 'group-' || number % 10 else '' end`,
  },
}

for (const [shape, { instance, group }] of Object.entries(SHAPES))
  t.test(`no lookup reads more connections the more there are: ${shape}`, async (t) => {
    const { db } = await createTestDatabase(t)
    await sql`
    insert into instances (id, base_url, name, created_at, updated_at)
    select gen_random_uuid(), 'https://gitlab-' || number || '.example.com', 'GitLab', now(), now()
    from generate_series(1, 50) as number`.execute(db)
    await sql`
    insert into connections (
      id, organization, instance_id, method, token_kind, group_path, gitlab_user_id, status, scopes, token_version,
      access_token, token_issued_at, created_at, updated_at
    )
    select gen_random_uuid(), 'org-' || number % 20, ${instance}, 'token', 'personal_access_token', ${group},
      number::text, 'active', '{read_api}', 1, 'none', now(), now(), now()
    from generate_series(1, ${CONNECTIONS}::int) as number`.execute(db)
    await sql`analyze`.execute(db)

    /** The plan that a connection of the broker keeps, instead of the rows. */
    let plan = ''
    const explain: RunPrepared = async ({ text }) => {
      const { rows } = await sql
        .raw<{ 'QUERY PLAN': string }>(`explain (generic_plan, costs off) ${text}`)
        .execute(db)
      plan = rows.map((row) => row['QUERY PLAN']).join('\n')
      return []
    }
    const now = new Date()
    const known = { now, budgets: { ids: [], left: [] } }
    const request = {
      leaseId: uuidv7(),
      accessKeyId: uuidv7(),
      minRemaining: 300,
      leaseSeconds: 300,
      acceptPastHalfLife: false,
      subject: null,
      purpose: null,
    }
    const match = { connectionId: uuidv7(), organization: 'acme', instanceId: GITLAB_COM, version: 1 }
    const directory = { organization: 'acme', instanceId: GITLAB_COM, most: 10 }
    const candidates = {
      accessKeyId: request.accessKeyId,
      organization: 'acme',
      covering: [{ instanceId: GITLAB_COM, path: 'acme', project: 'acme/web-shop' }],
      minTtl: 300,
    }

    const statements: [string, RegExp, () => Promise<unknown>][] = [
      [
        'by id',
        /connections_pkey\b.*\n *Index Cond: .*id = /,
        () => leaseById(explain, [{ ...request, connectionId: uuidv7() }], now),
      ],
      [
        'by match',
        /connections_pkey\b.*\n *Index Cond: .*id = /,
        () => leaseByMatch(explain, [{ ...request, match }], now),
      ],
      ['the directory of an organization', BY_ORGANIZATION, () => findDirectory(explain, directory)],
      ['the best by URL', BY_PATH, () => findBest(explain, [candidates], known)],
      ['every candidate', BY_PATH, () => findCandidates(explain, candidates, known)],
    ]
    for (const [what, index, run] of statements) {
      await run()
      t.match(plan, index, what)
      t.notMatch(plan, /Seq Scan on (connections|connection_places)/, what)
    }
  })
