import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { v7 as uuidv7 } from 'uuid'
import { recordAuditEvents } from '../../src/audit/queries.ts'
import { deleteOld } from '../../src/audit/seals/delete-old.ts'
import { AlreadySealedError, insertSeal } from '../../src/audit/seals/queries.ts'
import { contentOf } from '../../src/audit/seals/seal.ts'
import { sealAudit } from '../../src/audit/seals/seal-audit.ts'
import { verifyAudit } from '../../src/audit/seals/verify-audit.ts'
import { systemClock } from '../../src/clock/clock.ts'
import type { Database } from '../../src/db/database.ts'
import { deleteOld as deleteOldLeases } from '../../src/leases/delete-old.ts'
import { createLeaseDigests } from '../../src/leases/record/digest.ts'
import { openKeyRing } from '../../src/vault/key-ring.ts'
import { createNamedKeys } from '../../src/vault/named-keys.ts'
import { createVault } from '../../src/vault/vault.ts'
import { MASTER_KEY } from '../support/broker.ts'
import { createEmbeddedDatabase, createTestDatabase } from '../support/database.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000
const DAY_MS = 86_400_000

/** What seals and verifies, on a database. */
const createRecord = async (db: Database) => {
  const keyRing = await openKeyRing(db, [MASTER_KEY], systemClock)
  const namedKeys = createNamedKeys({ db, vault: createVault(keyRing), clock: systemClock })
  const leaseDigests = createLeaseDigests(db)
  const lines: Record<string, unknown>[] = []
  const auditLog = { info: (line: unknown) => void lines.push(line as Record<string, unknown>) }
  const record = (count: number, organization = 'acme') =>
    recordAuditEvents(
      db,
      Array.from({ length: count }, (_, number) => ({
        at: new Date(),
        action: 'connection.updated' as const,
        organization,
        details: { number },
      })),
    )
  /** As if it were later: what was recorded now has settled. */
  const seal = (laterMs = 2 * MINUTE_MS) =>
    sealAudit({ db, namedKeys, leaseDigests, auditLog }, { now: new Date(Date.now() + laterMs) })
  const verify = (expected?: { id: number; sha256: string }) =>
    verifyAudit({ db, namedKeys, leaseDigests }, { expected })
  const seals = () => db.selectFrom('audit_seals').selectAll().orderBy('id').execute()
  return { db, namedKeys, record, seal, verify, seals, lines }
}

/** What only somebody can do who owns the tables. */
const tamper = async (db: Database, change: (db: Database) => Promise<unknown>): Promise<void> => {
  for (const table of ['audit_events', 'audit_seals'])
    await sql`alter table ${sql.table(table)} disable trigger user`.execute(db)
  await change(db)
  for (const table of ['audit_events', 'audit_seals'])
    await sql`alter table ${sql.table(table)} enable trigger user`.execute(db)
}

const KINDS: [string, (t: Test) => Promise<Database>][] = [
  ['PostgreSQL', async (t) => (await createTestDatabase(t)).db],
  ['the embedded database', async (t) => (await createEmbeddedDatabase(t)).db],
]

for (const [kind, open] of KINDS) {
  t.test(`on ${kind} the record can be added to, and not changed`, async (t) => {
    const { db, record, seal, verify } = await createRecord(await open(t))
    await record(3)
    await seal()
    for (const table of ['audit_events', 'audit_seals'] as const) {
      for (const change of [
        sql`update ${sql.table(table)} set at = now()`,
        sql`delete from ${sql.table(table)}`,
        sql`delete from ${sql.table(table)} where false`,
        sql`truncate ${sql.table(table)}`,
      ])
        await t.rejects(change.execute(db), { message: new RegExp(`${table} is append-only`) })
    }
    // As a broker of an earlier version does.
    await sql`insert into audit_events (id, at, action) values (${uuidv7()}::uuid, now(), 'instance.created')`.execute(
      db,
    )
    await seal()
    t.match(await verify(), { seals: 2, events: 4, faults: [], notices: [] })
  })

  t.test(`on ${kind} each fault of the record is named`, async (t) => {
    const { db, record, seal, verify, seals } = await createRecord(await open(t))
    for (let round = 0; round < 4; round += 1) {
      await record(3)
      await seal()
    }
    t.match(await verify(), { seals: 4, events: 12, faults: [], notices: [] })
    const [first, second, third, fourth] = await seals()

    await t.test('an altered event', async (t) => {
      const [id] = second!.events
      const row = await db
        .selectFrom('audit_events')
        .selectAll()
        .where('id', '=', id!)
        .executeTakeFirstOrThrow()
      const columns = {
        at: new Date(row.at.getTime() + 1),
        access_key_id: uuidv7(),
        organization: 'globex',
        action: 'connection.deleted',
        subject_id: 'another',
        request_id: 'another',
        details: JSON.stringify({ number: 7 }),
        address: '192.0.2.7',
        outcome: 'refused' as const,
        token_hash: 'another',
      }
      for (const [column, value] of Object.entries(columns)) {
        const original = column === 'details' ? JSON.stringify(row.details) : row[column as keyof typeof row]
        const set = (to: unknown) =>
          tamper(db, () =>
            db
              .updateTable('audit_events')
              .set({ [column]: to })
              .where('id', '=', id!)
              .execute(),
          )
        await set(value)
        t.same((await verify()).faults, [`Event ${id} was altered since seal 2.`], column)
        await set(original)
        t.same((await verify()).faults, [], `${column} as it was`)
      }
    })

    await t.test('a deleted event', async (t) => {
      const [, id] = third!.events
      const row = await db
        .selectFrom('audit_events')
        .selectAll()
        .where('id', '=', id!)
        .executeTakeFirstOrThrow()
      await tamper(db, () => db.deleteFrom('audit_events').where('id', '=', id!).execute())
      t.same((await verify()).faults, [`Event ${id} is missing: seal 3 names it.`])
      await tamper(db, async () => {
        await db
          .insertInto('audit_events')
          .values({ ...row, details: JSON.stringify(row.details) })
          .execute()
      })
      t.same((await verify()).faults, [], 'put back as it was')
    })

    await t.test('an event that was slipped in', async (t) => {
      const id = uuidv7()
      await tamper(db, () =>
        db
          .insertInto('audit_events')
          .values({ id, at: new Date(), action: 'instance.created', details: '{}' })
          .execute(),
      )
      t.match((await verify()).faults, [new RegExp(`^Event ${id} .* is in no seal and waits for none`)])
      await tamper(db, () => db.deleteFrom('audit_events').where('id', '=', id).execute())
    })

    await t.test('a deleted seal, in the middle, at the beginning, at the end', async (t) => {
      for (const [seal, faults] of [
        [second!, ['Seal 2 is missing.']],
        [first!, ['Seal 1 is missing.']],
        [fourth!, []],
      ] as const) {
        await tamper(db, () => db.deleteFrom('audit_seals').where('id', '=', seal.id).execute())
        const report = await verify({ id: 4, sha256: fourth!.sha256 })
        for (const [place, fault] of faults.entries()) t.equal(report.faults[place], fault)
        for (const id of seal.events)
          t.ok(
            report.faults.some((fault) => fault.startsWith(`Event ${id} `) && fault.includes('in no seal')),
          )
        if (seal === fourth)
          t.ok(report.faults.includes('Seal 4, which was noted elsewhere, is missing: the chain ends at 3.'))
        await tamper(db, () => db.insertInto('audit_seals').values(seal).execute())
      }
      t.same((await verify({ id: 4, sha256: fourth!.sha256 })).faults, [])
      t.same((await verify({ id: 4, sha256: first!.sha256 })).faults, [
        'Seal 4 is not the one that was noted elsewhere.',
      ])
    })

    await t.test('an altered seal, also where its own hash was made to fit', async (t) => {
      const set = (changes: object) =>
        tamper(db, () => db.updateTable('audit_seals').set(changes).where('id', '=', third!.id).execute())
      await set({ at: new Date(third!.at.getTime() + 1) })
      t.same((await verify()).faults, ['Seal 3 was altered.'])
      await set({ at: third!.at, mac: second!.mac })
      t.same((await verify()).faults, ['Seal 3 was not made by this broker: its MAC is another.'])
      await set({ mac: third!.mac, event_count: 2 })
      t.same((await verify()).faults, ['Seal 3 was altered.'])
      await set({ event_count: 3 })
      t.same((await verify()).faults, [])
    })

    await t.test('what waits for a seal is told, and its deletion too', async (t) => {
      await record(2)
      t.match(await verify(), { faults: [], notices: [/^2 events are not sealed yet, the first since 20/] })
      const [waiting] = await db.selectFrom('audit_unsealed').select('event_id').orderBy('event_id').execute()
      await tamper(db, () => db.deleteFrom('audit_events').where('id', '=', waiting!.event_id).execute())
      t.same((await verify()).faults, [
        `Event ${waiting!.event_id} is missing: it was deleted before it was sealed.`,
      ])
    })
  })
}

t.test(
  'a row that commits long after its seal would have been due is sealed later, and no fault',
  async (t) => {
    const { db, record, seal, verify, seals } = await createRecord((await createTestDatabase(t)).db)
    const begun = Promise.withResolvers<void>()
    const goOn = Promise.withResolvers<void>()
    const late = db.transaction().execute(async (transaction) => {
      await recordAuditEvents(transaction, [{ at: new Date(), action: 'connection.created' }])
      begun.resolve()
      await goOn.promise
    })
    await begun.promise
    await record(2)
    await seal()
    t.match(await verify(), { seals: 1, events: 2, faults: [], notices: [] })
    goOn.resolve()
    await late
    t.match(await verify(), { faults: [], notices: [/^1 events are not sealed yet/] })
    await seal()
    const [first, second] = await seals()
    t.ok(second!.last_event! < first!.first_event!, 'its id is before those of the seal before')
    t.match(await verify(), { seals: 2, events: 3, faults: [], notices: [] })
  },
)

t.test('what is younger than a minute is not sealed yet', async (t) => {
  const { record, seal, seals } = await createRecord((await createTestDatabase(t)).db)
  await record(1)
  await seal(MINUTE_MS / 2)
  t.same(await seals(), [])
})

t.test('no event is in two seals, whoever comes late', async (t) => {
  const { db, record, seal, seals, verify } = await createRecord((await createTestDatabase(t)).db)
  await record(2)
  await seal()
  const [first] = await seals()
  const again = { ...contentOf(first!), id: 2, previous: first!.sha256 }
  await t.rejects(insertSeal(db, again, { sha256: 'FAKE', mac: 'FAKE' }), AlreadySealedError)
  t.match(await verify(), { seals: 1, events: 2, faults: [] })
})

t.test('a role that only reads deletes nothing', async (t) => {
  const { db, record, seal } = await createRecord((await createTestDatabase(t)).db)
  await record(1)
  await seal()
  const role = `reader_${uuidv7().replaceAll('-', '')}`
  await sql`create role ${sql.ref(role)}`.execute(db)
  await sql`grant select on all tables in schema public to ${sql.ref(role)}`.execute(db)
  await db
    .transaction()
    .execute(async (transaction) => {
      await sql`set local role ${sql.ref(role)}`.execute(transaction)
      await t.rejects(sql`select delete_audit_before(now() - interval '2 days', 10)`.execute(transaction), {
        message: /permission denied for function delete_audit_before/,
      })
    })
    .catch(() => undefined)
  await sql`drop owned by ${sql.ref(role)}`.execute(db)
  await sql`drop role ${sql.ref(role)}`.execute(db)
})

t.test('replicas that seal at the same moment make one chain', async (t) => {
  const { db, record, seal, verify } = await createRecord((await createTestDatabase(t)).db)
  const other = await createRecord(db)
  await record(1_200)
  await Promise.all([seal(), other.seal(), seal(), other.seal()])
  await seal()
  t.match(await verify(), { events: 1_200, faults: [], notices: [] })
})

t.test('every sealed event and every seal is one line for a SIEM', async (t) => {
  const { record, seal, seals, lines } = await createRecord((await createTestDatabase(t)).db)
  await record(2)
  await seal()
  const [sealed] = await seals()
  t.match(lines, [
    {
      event: {
        id: sealed!.events[0],
        action: 'connection.updated',
        organization: 'acme',
        outcome: 'success',
      },
    },
    { event: { id: sealed!.events[1], details: { number: 1 } } },
    { seal: { id: 1, sha256: sealed!.sha256, events: 2 } },
  ])
  t.equal(lines.length, 3)
})

t.test('retention deletes whole seals by its one path, says so, and the rest still verifies', async (t) => {
  const { db, record, seal, verify, seals } = await createRecord((await createTestDatabase(t)).db)
  const { rows } = await sql<{ now: Date }>`select now()`.execute(db)
  const daysAgo = (days: number) => rows[0]!.now.getTime() - Date.now() - days * DAY_MS
  for (const days of [500, 450, 399, 10]) {
    await record(3)
    await sql`update audit_unsealed set queued_at = now() - interval '1000 days'`.execute(db)
    await seal(daysAgo(days))
  }
  t.equal(await deleteOld(db, 400), 6)
  t.equal(await deleteOld(db, 400), 0, 'nothing is left to do')
  t.match(
    (await seals()).map(({ id }) => Number(id)),
    [3, 4],
  )
  const declared = await db
    .selectFrom('audit_events')
    .selectAll()
    .where('action', '=', 'audit.deleted_old')
    .execute()
  t.match(declared, [{ details: { last_seal: 2, events: 6 } }])
  await seal()
  t.match(await verify(), {
    seals: 3,
    events: 7,
    faults: [],
    notices: [/^Retention deleted the seals up to 2/],
  })

  await t.test('the newest seal is never deleted, and nothing that is younger than a day', async (t) => {
    await sql`select delete_audit_before(now() - interval '1 day 1 minute', 1000)`.execute(db)
    t.match((await seals()).at(-1), { id: '5' })
    await t.rejects(sql`select delete_audit_before(now(), 1000)`.execute(db), { message: /kept for a day/ })
  })

  await t.test('the same without saying so is a fault', async (t) => {
    t.same((await verify()).faults.slice(0, 1), ['Seals 3 to 4 are missing.'])
  })
})

t.test('the leases of each hour are in the chain', async (t) => {
  const { db, seal, verify, seals } = await createRecord((await createTestDatabase(t)).db)
  const hour = Math.floor(Date.now() / HOUR_MS) * HOUR_MS
  const lease = (at: number) =>
    db
      .insertInto('leases')
      .values({
        id: uuidv7({ msecs: at }),
        connection_id: uuidv7(),
        organization: 'acme',
        token_version: 1,
        access_key_id: uuidv7(),
        purpose: 'scan "7"',
        granted_at: new Date(at),
        expires_at: new Date(at + 300_000),
      })
      .returning('id')
      .executeTakeFirstOrThrow()
  const { id } = await lease(hour - 3 * HOUR_MS)
  await lease(hour - 3 * HOUR_MS + 5)
  await lease(hour - HOUR_MS + 5)
  await seal(0)
  const covered = (await seals()).map(({ lease_hour, lease_count }) => [
    lease_hour?.getTime(),
    Number(lease_count),
  ])
  t.same(covered.slice(0, 2), [
    [hour - 3 * HOUR_MS, 2],
    [hour - 2 * HOUR_MS, 0],
  ])
  t.match(await verify(), { faults: [] })
  const first = new Date(hour - 3 * HOUR_MS).toISOString()

  await db.updateTable('leases').set({ released_at: new Date(), expires_at: new Date() }).execute()
  t.match(await verify(), { faults: [] }, 'a lease may end')
  await db.updateTable('leases').set({ purpose: 'another' }).where('id', '=', id).execute()
  t.same((await verify()).faults, [
    `The leases of the hour from ${first} are not those of seal 1: 2 as then, but at least one was altered.`,
  ])
  await db.deleteFrom('leases').where('id', '=', id).execute()
  t.same((await verify()).faults, [
    `The leases of the hour from ${first} are not those of seal 1: 1, and were 2.`,
  ])

  const days = 1
  await deleteOldLeases(db, days, new Date(hour - 2 * HOUR_MS + days * DAY_MS))
  t.match(await verify(), { faults: [] }, 'what retention deletes, it declares')
  await db.deleteFrom('leases').execute()
  const last = new Date(hour - HOUR_MS).toISOString()
  if (covered.length > 2)
    t.match((await verify()).faults, [new RegExp(`hour from ${last} .*: 0, and were 1`)])
})
