import fc from 'fast-check'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { v7 as uuidv7 } from 'uuid'
import { SERVICE_ID } from '../../src/callers/principal.ts'
import type { OpenDatabase } from '../../src/db/database.ts'
import { claimClear } from '../../src/token-lifecycle/claims/queries.ts'
import { decideSettlement } from '../../src/token-lifecycle/doubt.ts'
import { decideRefresh } from '../../src/token-lifecycle/refresh-decision.ts'
import { createEmbeddedDatabase, createTestDatabase } from '../support/database.ts'

const GITLAB_COM = '01900000-0000-7000-8000-000000000001'
const APP = uuidv7()
const KEY = uuidv7()
const NOW = new Date('2026-11-02T10:30:00Z')
const at = (seconds: number): Date => new Date(NOW.getTime() + seconds * 1000)
const WENT_BACK_AT = at(-60)

const seldom = <Value, Usual>(value: fc.Arbitrary<Value>, usual: Usual) =>
  fc.oneof({ weight: 12, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: value })
const someTime = fc.constantFrom(-100, -1, 0, 1, 100).map(at)

/** Of leases on the version: nobody's, a scanner's, one that the caller holds, one of the service. */
type Lease = 'none' | 'scanner' | 'own' | 'service' | 'released' | 'ended' | 'of another version'

const someCase = fc.record({
  status: seldom(fc.constantFrom('revoked' as const, 'needs_reauthorization' as const), 'active' as const),
  refreshable: seldom(fc.constant(false), true),
  version: fc.constantFrom(2, 3, 3, 3, 3, 4),
  attempt: seldom(someTime, null),
  sent: fc.boolean(),
  unanswered_since: seldom(fc.constantFrom(-200, -100, -1, 0).map(at), null),
  failing_since: seldom(someTime, null),
  retry_after: seldom(someTime, null),
  issued: fc.constantFrom(-3_700, -61, -60, -59).map(at),
  knowsOfRestore: fc.boolean(),
  lease: fc.constantFrom<Lease[]>(
    'none',
    'none',
    'scanner',
    'own',
    'service',
    'released',
    'ended',
    'of another version',
  ),
  onConflict: seldom(fc.constant('preempt' as const), 'respect' as const),
})
type Case = typeof someCase extends fc.Arbitrary<infer Value> ? Value : never

const prepare = async ({ db }: OpenDatabase): Promise<void> => {
  await sql`insert into oauth_apps (id, slug, instance_id, client_id, client_secret, scopes, created_at, updated_at)
    values (${APP}, 'app', ${GITLAB_COM}, 'id', 'none', '{}', ${NOW}, ${NOW})`.execute(db)
}

const insert = async ({ db }: OpenDatabase, cases: Case[]) => {
  const known = cases.map(() => ({ id: uuidv7(), ownLease: uuidv7() }))
  await db
    .insertInto('connections')
    .values(
      cases.map((one, index) => ({
        id: known[index]!.id,
        organization: 'acme',
        instance_id: GITLAB_COM,
        method: 'oauth' as const,
        token_kind: 'oauth_access_token' as const,
        gitlab_user_id: known[index]!.id,
        group_path: '',
        oauth_app_id: APP,
        auto_rotate: false,
        scopes: ['read_repository'],
        access_token: 'none',
        refresh_token: one.refreshable ? 'none' : null,
        failure_count: 0,
        status: one.status,
        token_version: one.version,
        token_issued_at: one.issued,
        token_expires_at: at(-1),
        attempt_id: one.attempt && uuidv7(),
        attempt_deadline: one.attempt,
        attempt_sent_at: one.attempt && one.sent ? at(-100) : null,
        unanswered_since: one.unanswered_since,
        failing_since: one.failing_since,
        retry_after: one.retry_after,
        created_at: NOW,
        updated_at: NOW,
      })),
    )
    .execute()
  const leases = cases.flatMap(({ lease, version }, index) => {
    if (lease === 'none') return []
    const { id, ownLease } = known[index]!
    return {
      id: lease === 'own' ? ownLease : uuidv7(),
      connection_id: id,
      organization: 'acme',
      token_version: lease === 'of another version' ? version - 1 : version,
      access_key_id: lease === 'service' ? SERVICE_ID : KEY,
      purpose: null,
      granted_at: at(-60),
      expires_at: lease === 'ended' ? NOW : at(60),
      released_at: lease === 'released' ? at(-1) : null,
    }
  })
  if (leases.length > 0) await db.insertInto('leases').values(leases).execute()
  return known
}

/** What the rules of the refresh say of the same row. */
const decide = (one: Case) => {
  const state = {
    ...one,
    token_version: one.version,
    attempt_id: one.attempt && 'attempt',
    attempt_deadline: one.attempt,
    attempt_sent_at: one.attempt && one.sent ? at(-100) : null,
    leasedUntil: one.lease === 'scanner' ? at(60) : null,
    failure_count: 0,
    // GitLab's newer engine: the stricter of the two.
    detectsReuse: true,
    wentBackAt: one.knowsOfRestore && one.issued < WENT_BACK_AT ? WENT_BACK_AT : undefined,
  }
  const refresh = decideRefresh(state, { knownVersion: 3, onConflict: one.onConflict }, NOW)
  const settlement = decideSettlement(state, NOW)
  if (refresh.action !== 'claim') return refresh.reason
  if (refresh.reason !== 'due') return refresh.reason
  if (settlement.action !== 'send') return settlement.action
  return one.failing_since === null && one.retry_after === null ? 'clear' : 'has failed'
}

const compare = async (t: Test, database: OpenDatabase, numRuns: number) => {
  await prepare(database)
  const seen = new Set<string>()
  const claimAll = async (cases: Case[], knowsOfRestore: boolean) => {
    const known = await insert(database, cases)
    const claims = cases.map(({ onConflict }, index) => ({
      connectionId: known[index]!.id,
      attemptId: uuidv7(),
      knownVersion: 3,
      preempts: onConflict === 'preempt',
      ownLease: known[index]!.ownLease,
    }))
    const wentBackAt = knowsOfRestore ? WENT_BACK_AT : undefined
    const asked = { now: NOW, known: undefined, wentBackAt }
    const rows = await claimClear(database.runPrepared, claims, asked)
    for (const [index, one] of cases.entries()) {
      const reason = decide(one)
      seen.add(reason)
      if ((reason === 'clear') !== (rows?.[index] !== undefined))
        throw new Error(`the rules: ${reason}; the statement: ${rows?.[index] ? 'claimed' : 'not claimed'}`)
    }
  }
  await fc.assert(
    fc.asyncProperty(fc.array(someCase, { minLength: 20, maxLength: 40 }), async (cases) => {
      for (const knows of [true, false]) {
        const own = cases.filter(({ knowsOfRestore }) => knowsOfRestore === knows)
        if (own.length > 0) await claimAll(own, knows)
      }
    }),
    { numRuns },
  )
  // Each reason came up, so that none of the rules went untested.
  t.same([...seen].sort(), [
    'abandoned_attempt',
    'ask',
    'backing_off',
    'claimed_elsewhere',
    'clear',
    'has failed',
    'in_use',
    'inactive',
    'newer_version',
    'not_refreshable',
    'wait',
  ])
}

t.test('the statement on PostgreSQL claims what the rules call clear, and nothing else', async (t) =>
  compare(t, await createTestDatabase(t), 60),
)

t.test('the statement on PGlite claims what the rules call clear, and nothing else', async (t) =>
  compare(t, await createEmbeddedDatabase(t), 30),
)
