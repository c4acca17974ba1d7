import { sql } from 'kysely'
import t from 'tap'
import { v7 as uuidv7 } from 'uuid'
import type { Database } from '../../src/db/database.ts'
import { dataKeyIdAfter } from '../../src/vault/data-key.ts'
import { openKeyRing } from '../../src/vault/key-ring.ts'
import { insertNextDataKey } from '../../src/vault/queries.ts'
import { headerOf } from '../../src/vault/reseal.ts'
import { isDataKeyDue, makeDataKey, rewrapDataKeys } from '../../src/vault/rotate-keys.ts'
import { createVault } from '../../src/vault/vault.ts'
import { MASTER_KEY, setStage, startTestBroker } from '../support/broker.ts'
import { createFakeClock } from '../support/clock.ts'
import { createTestDatabase } from '../support/database.ts'
import { connect, HALF_LIFE, lookUp, rowOf } from '../support/lifecycle.ts'
import { createSession } from '../support/oauth.ts'

const YEAR_SECONDS = 366 * 86_400

/** The columns in which a ciphertext under this data key stands, whatever the table. */
const columnsUnder = async (db: Database, kid: string): Promise<string[]> => {
  const { rows } = await sql<{ table_name: string; column_name: string }>`
    select table_name, column_name from information_schema.columns where table_schema = 'public'`.execute(db)
  const found: string[] = []
  for (const { table_name, column_name } of rows) {
    const matching = await sql`
      select from ${sql.table(table_name)} where strpos(${sql.ref(column_name)}::text, ${headerOf(kid)}) > 0 limit 1
    `.execute(db)
    if (matching.rows.length > 0) found.push(`${table_name}.${column_name}`)
  }
  return found.sort()
}

const dataKeys = (db: Database) => db.selectFrom('data_keys').selectAll().orderBy('id').execute()

for (const embedded of [false, true])
  t.test(`a data key that is too old is replaced, ${embedded ? 'embedded' : 'on PostgreSQL'}`, async (t) => {
    const stage = await setStage(t, { broker: { embedded } })
    const { broker, clock } = stage
    const { db } = broker
    const id = await connect(stage)
    await broker.get('/.well-known/jwks.json', { key: null })
    const [first] = await dataKeys(db)

    // A grant that GitLab issued and no connection has yet.
    await createSession(broker)
    const session = await db
      .selectFrom('connect_sessions')
      .select('id')
      .orderBy('id', 'desc')
      .executeTakeFirstOrThrow()
    const app = await db.selectFrom('oauth_apps').select('id').executeTakeFirstOrThrow()
    const grantId = uuidv7()
    const vault = createVault(await openKeyRing(db, [MASTER_KEY], clock))
    const binding = { ownerId: grantId, version: 1, use: 'grant' } as const
    const now = new Date(clock())
    await db
      .insertInto('authorization_requests')
      .values({
        id: grantId,
        connect_session_id: session.id,
        oauth_app_id: app.id,
        created_at: now,
        expires_at: now,
        grant_jwe: await vault.seal('FAKE-grant', binding),
        granted_at: now,
      })
      .execute()
    const everywhere = [
      'authorization_requests.grant_jwe',
      'connections.access_token',
      'connections.refresh_token',
      'oauth_apps.client_secret',
      'signing_keys.key_jwe',
    ]
    t.same(await columnsUnder(db, first!.id), everywhere)

    await broker.jobs.renewDataKey()
    t.equal((await dataKeys(db)).length, 1, 'a young one stays')
    const before = await rowOf(stage, id)
    clock.advance(YEAR_SECONDS)
    await broker.jobs.renewDataKey()
    const [old, current, ...more] = await dataKeys(db)
    t.same(more, [])
    t.ok(old!.retired_at, 'the old one is retired')
    t.equal(current!.retired_at, null)
    t.same(await columnsUnder(db, old!.id), [], 'nothing is left under it')
    t.same(await columnsUnder(db, current!.id), everywhere)
    const after = await rowOf(stage, id)
    t.match(after, { token_version: before.token_version, updated_at: before.updated_at })
    t.not(after.access_token, before.access_token)

    const grant = await db
      .selectFrom('authorization_requests')
      .select('grant_jwe')
      .where('id', '=', grantId)
      .executeTakeFirstOrThrow()
    t.equal(
      await vault.open(grant.grant_jwe!, binding),
      'FAKE-grant',
      'a replica that did not follow opens it',
    )
    t.equal(
      (await lookUp(stage, id)).status,
      200,
      'a token that ran out is refreshed by what was encrypted anew',
    )
    t.same(await columnsUnder(db, old!.id), [])
  })

t.test('a replica follows to a data key that another made', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  const ring = await openKeyRing(broker.db, [MASTER_KEY], clock)
  const second = await startTestBroker(t, { database: broker.database, clock })
  const id = await connect(stage)
  const made = await makeDataKey({ db: broker.db, masterKeys: [MASTER_KEY], clock })
  t.not(ring.current().kid, made)
  await ring.follow()
  t.equal(ring.current().kid, made)
  await second.jobs.renewDataKey()
  clock.advance(HALF_LIFE)
  t.equal((await lookUp(stage, id)).status, 200, 'the first opens what the second encrypted under it')
})

t.test('of several processes that make a data key at once, one does', async (t) => {
  const { db } = await createTestDatabase(t)
  const clock = createFakeClock()
  await openKeyRing(db, [MASTER_KEY], clock)
  const [first] = await dataKeys(db)
  // Each saw the same newest one.
  const make = () =>
    insertNextDataKey(
      db,
      { id: dataKeyIdAfter(first!.id), wrapped_key: 'FAKE', created_at: new Date() },
      first!.id,
    )
  t.same((await Promise.all([make(), make(), make()])).sort(), [false, false, true])
  t.equal((await dataKeys(db)).length, 2)
})

t.test('while the master key is being replaced, no data key is made by age', async (t) => {
  const { db } = await createTestDatabase(t)
  const clock = createFakeClock()
  await openKeyRing(db, [MASTER_KEY], clock)
  clock.advance(YEAR_SECONDS)
  const NEW = new Uint8Array(32).fill(9)
  const replacing = { db, masterKeys: [NEW, MASTER_KEY], clock }
  t.equal(await isDataKeyDue(replacing, 365), false)
  t.equal(await rewrapDataKeys(replacing), 1)
  t.equal(await rewrapDataKeys(replacing), 0, 'once is enough')
  t.equal(await isDataKeyDue(replacing, 365), true)
})

t.test('a data key made by a machine whose clock is behind is the newest all the same', async (t) => {
  const { db } = await createTestDatabase(t)
  const clock = createFakeClock()
  await openKeyRing(db, [MASTER_KEY], clock)
  const ahead = uuidv7({ msecs: Date.now() + 86_400_000 })
  const keys = { db, masterKeys: [MASTER_KEY], clock }
  const first = await makeDataKey(keys)
  t.ok(first)
  await db.updateTable('data_keys').set({ id: ahead }).where('id', '=', first!).execute()
  const last = await makeDataKey(keys)
  t.ok(last! > ahead)
})
