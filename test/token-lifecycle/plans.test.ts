import { CompiledQuery, Kysely, PostgresDialect, sql } from 'kysely'
import pg from 'pg'
import t from 'tap'
import type { RunPrepared } from '../../src/db/database.ts'
import type { Tables } from '../../src/db/tables.ts'
import { claimClear } from '../../src/token-lifecycle/claims/queries.ts'
import { saveWhereFree } from '../../src/token-lifecycle/saves/queries.ts'
import { markExpired } from '../../src/token-lifecycle/upkeep/queries.ts'
import { createTestDatabase } from '../support/database.ts'

const CONNECTIONS = 20_000
const NOW = new Date('2026-11-02T10:30:00Z')

/** The statement of brokers up to 0.1.0, one of which may still run beside a new one. */
const MARK_EXPIRED_OF_OLD = CompiledQuery.raw(
  `update connections set status = 'expired' where status = 'active' and refresh_token is null
    and attempt_id is null and token_expires_at <= $1`,
  [NOW],
)

t.test(
  'what has ended is found by index, by a new broker and by an older one beside it, and so is what is refreshed',
  async (t) => {
    const { db, url } = await createTestDatabase(t)
    await sql`
    insert into oauth_apps (id, slug, instance_id, client_id, client_secret, scopes, created_at, updated_at)
    select gen_random_uuid(), 'app', id, 'id', 'none', '{}', now(), now() from instances limit 1`.execute(db)
    // One in a hundred cannot be refreshed: half of these for want of a refresh token, half for want of an app.
    await sql`
    insert into connections (
      id, organization, instance_id, method, token_kind, gitlab_user_id, status, scopes, token_version, access_token,
      refresh_token, oauth_app_id, token_issued_at, token_expires_at, created_at, updated_at
    )
    select gen_random_uuid(), 'acme', instance_id, 'oauth', 'oauth_access_token', number::text, 'active', '{}', 1, 'none',
      case when number % 200 = 0 then null else 'none' end, case when number % 200 = 100 then null else oauth_apps.id end,
      ${NOW}, ${NOW}::timestamptz + make_interval(mins => number - 300), now(), now()
    from generate_series(1, ${CONNECTIONS}::int) as number, oauth_apps`.execute(db)
    await sql`analyze`.execute(db)

    const sent: CompiledQuery[] = []
    const watched = new Kysely<Tables>({
      dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: url }) }),
      log: ({ query }) => void sent.push(query),
    })
    t.teardown(() => watched.destroy())
    const planOf = async ({ sql: text, parameters }: CompiledQuery): Promise<string> => {
      const { rows } = await db.executeQuery<{ 'QUERY PLAN': string }>(
        CompiledQuery.raw(`explain (costs off) ${text}`, [...parameters]),
      )
      return rows.map((row) => row['QUERY PLAN']).join('\n')
    }

    t.match(await planOf(MARK_EXPIRED_OF_OLD), /connections_to_expire/)
    t.equal(await markExpired(watched, NOW), 3, 'after 100, 200 and 300 of those minutes')
    const update = sent.find(({ sql: text }) => /^update "connections"/.test(text))!
    const plan = await planOf(update)
    t.match(plan, /connections_to_expire/)
    t.notMatch(plan, /Seq Scan/)

    /** The plan that a connection of the broker keeps. */
    const kept: string[] = []
    const explain: RunPrepared = async ({ text }) => {
      const { rows } = await sql
        .raw<{ 'QUERY PLAN': string }>(`explain (generic_plan, costs off) ${text}`)
        .execute(db)
      kept.push(rows.map((row) => row['QUERY PLAN']).join('\n'))
      return []
    }
    await claimClear(explain, [], { now: NOW, known: undefined, wentBackAt: undefined })
    await saveWhereFree(explain, [])
    t.equal(kept.length, 2)
    for (const plan of kept) {
      t.match(plan, /connections_pkey\b.*\n *Index Cond: .*id = /)
      t.notMatch(plan, /Seq Scan on connections/)
    }
  },
)
