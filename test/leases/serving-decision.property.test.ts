import fc from 'fast-check'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { v7 as uuidv7 } from 'uuid'
import type { OpenDatabase } from '../../src/db/database.ts'
import { isLeased } from '../../src/leases/lease.ts'
import { leaseById } from '../../src/leases/queries.ts'
import {
  decideServing,
  firstConditions,
  judge,
  type LeaseConditions,
  type ServingState,
} from '../../src/leases/serving-decision.ts'
import { createEmbeddedDatabase, createTestDatabase } from '../support/database.ts'

const GITLAB_COM = '01900000-0000-7000-8000-000000000001'
const APP = uuidv7()
const KEY = uuidv7()
const NOW = new Date('2026-11-02T10:30:00Z')
const at = (seconds: number): Date => new Date(NOW.getTime() + seconds * 1000)

/** Few values, all near the edges of the rules: most rows decide something, and equal times come up. */
const LIFETIMES = [90, 298, 600, 7_200]
const near = fc.constantFrom(-100, -1, 0, 1, 100)
const someTime = fc.option(near.map(at), { nil: null })

const seldom = <Value, Usual>(value: fc.Arbitrary<Value>, usual: Usual) =>
  fc.oneof({ weight: 8, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: value })

const state: fc.Arbitrary<ServingState> = fc
  .record({
    status: fc.constantFrom(
      'active' as const,
      'active' as const,
      'active' as const,
      'active' as const,
      'active' as const,
      'revoked' as const,
      'needs_reauthorization' as const,
    ),
    life: fc.constantFrom(null, ...LIFETIMES, ...LIFETIMES),
    left: fc.constantFrom(-1, 0, 1, 44, 45, 46, 60, 299, 300, 301, 3_599, 3_600, 3_601, 7_200),
    attempt: seldom(someTime, undefined),
    unanswered_since: seldom(near.map(at), null),
    retry_after: fc.constantFrom(null, null, at(-600), at(-599), at(-100), at(-1), NOW, at(1)),
    refreshable: fc.boolean(),
    leased: fc.boolean(),
  })
  .map(({ life, left, attempt, ...rest }) => ({
    ...rest,
    token_version: 3,
    token_issued_at: life === null ? NOW : at(left - life),
    token_expires_at: life === null ? null : at(left),
    attempt_id: attempt === undefined ? null : uuidv7(),
    attempt_deadline: attempt === undefined ? null : attempt,
  }))

const conditions: fc.Arbitrary<LeaseConditions> = fc.record({
  minRemaining: fc.constantFrom(0, 5, 45, 60, 300, 900),
  leaseSeconds: fc.constantFrom(60, 300),
  acceptPastHalfLife: fc.boolean(),
})

const prepare = async ({ db }: OpenDatabase): Promise<void> => {
  await sql`insert into oauth_apps (id, slug, instance_id, client_id, client_secret, scopes, created_at, updated_at)
    values (${APP}, 'app', ${GITLAB_COM}, 'id', 'none', '{}', ${NOW}, ${NOW})`.execute(db)
  await sql`insert into access_keys (id, name, role, organizations, key_sha256, created_at)
    values (${KEY}, 'key', 'scanner', '{*}', ${Buffer.alloc(32)}, ${NOW})`.execute(db)
}

/** Leases of the current version that count and leases that do not, as the state says. */
const insert = async ({ db }: OpenDatabase, states: ServingState[]): Promise<string[]> => {
  const ids = states.map(() => uuidv7())
  await db
    .insertInto('connections')
    .values(
      states.map(({ refreshable, leased: _, ...row }, index) => ({
        ...row,
        id: ids[index]!,
        organization: 'acme',
        instance_id: GITLAB_COM,
        method: refreshable ? ('oauth' as const) : ('token' as const),
        token_kind: refreshable ? ('oauth_access_token' as const) : ('personal_access_token' as const),
        gitlab_user_id: ids[index]!,
        group_path: '',
        oauth_app_id: refreshable ? APP : null,
        auto_rotate: false,
        scopes: ['read_repository'],
        access_token: 'none',
        refresh_token: refreshable ? 'none' : null,
        failure_count: 0,
        created_at: NOW,
        updated_at: NOW,
      })),
    )
    .execute()
  const lease = { organization: 'acme', access_key_id: KEY, granted_at: at(-60), purpose: null }
  const leases = states.flatMap(({ leased, token_version }, index) => {
    const own = { ...lease, connection_id: ids[index]!, token_version }
    return [
      { ...own, id: uuidv7(), expires_at: NOW },
      { ...own, id: uuidv7(), expires_at: at(60), released_at: at(-1) },
      { ...own, id: uuidv7(), expires_at: at(60), token_version: token_version - 1 },
      ...(leased ? [{ ...own, id: uuidv7(), expires_at: at(1) }] : []),
    ]
  })
  await db.insertInto('leases').values(leases).execute()
  return ids
}

const compare = async (t: Test, database: OpenDatabase, numRuns: number) => {
  await prepare(database)
  const outcomes = new Map<string, number>()
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(state, conditions), { minLength: 20, maxLength: 40 }),
      async (cases) => {
        const ids = await insert(
          database,
          cases.map(([state]) => state),
        )
        const requests = cases.map(([, conditions], index) => ({
          ...conditions,
          leaseId: uuidv7(),
          accessKeyId: KEY,
          connectionId: ids[index]!,
          subject: null,
          purpose: null,
        }))
        const rows = new Map(
          (await leaseById(database.runPrepared, requests, NOW)).map((row) => [row.lease_id, row]),
        )
        for (const [index, [state, conditions]] of cases.entries()) {
          const row = rows.get(requests[index]!.leaseId)
          if (!row) throw new Error('the statement has no row for a connection that is there')
          const { served, reason } = judge(state, conditions, NOW)
          outcomes.set(reason, (outcomes.get(reason) ?? 0) + 1)
          if (served !== isLeased(row))
            throw new Error(`judge: ${reason}; the statement: ${isLeased(row) ? 'leased' : 'refused'}`)
          if (isLeased(row)) continue
          // What the statement tells of a refused connection is all that the rule needs.
          const seen = decideServing({ ...row, ...row.refused }, { minTtl: undefined }, NOW)
          const known = decideServing(state, { minTtl: undefined }, NOW)
          if (JSON.stringify(seen) !== JSON.stringify(known))
            throw new Error(`decided ${JSON.stringify(known)}; from the answer ${JSON.stringify(seen)}`)
        }
      },
    ),
    { numRuns },
  )
  // Each reason came up, so that none of the rules went untested.
  t.same([...outcomes.keys()].sort(), [
    'claimed',
    'gitlab_backing_off',
    'in_doubt',
    'inactive',
    'leased_by_others',
    'lives_long_enough',
    'past_half_life',
    'past_half_life_accepted',
    'too_short',
  ])
}

t.test('the statement on PostgreSQL serves what judge serves, and nothing else', async (t) =>
  compare(t, await createTestDatabase(t), 60),
)

t.test('the statement on PGlite serves what judge serves, and nothing else', async (t) =>
  compare(t, await createEmbeddedDatabase(t), 30),
)

t.test('a lookup begins with the conditions that decideServing serves under', async (t) => {
  const fresh: ServingState = {
    status: 'active',
    token_version: 1,
    token_issued_at: NOW,
    token_expires_at: at(7_200),
    attempt_id: null,
    attempt_deadline: null,
    unanswered_since: null,
    retry_after: null,
    refreshable: true,
    leased: false,
  }
  t.same(decideServing(fresh, { minTtl: undefined }, NOW), {
    action: 'serve',
    reason: 'lives_long_enough',
    conditions: firstConditions({ minTtl: undefined }),
  })
})
