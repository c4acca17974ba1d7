import t from 'tap'
import { openDatabase } from '../../src/db/open.ts'
import { openKeyRing, WrongMasterKeyError } from '../../src/vault/key-ring.ts'
import { createVault } from '../../src/vault/vault.ts'
import { createFakeClock } from '../support/clock.ts'
import { createTestDatabase } from '../support/database.ts'

const clock = createFakeClock()
const master = (fill: number) => new Uint8Array(32).fill(fill)
const binding = { ownerId: 'a row', version: 1, use: 'access' } as const

t.test('the data key of a database opens with the master key that made it, and with no other', async (t) => {
  const { db } = await createTestDatabase(t)
  const sealed = await createVault(await openKeyRing(db, [master(1)], clock)).seal('FAKE', binding)
  const again = createVault(await openKeyRing(db, [master(1)], clock))
  t.equal(await again.open(sealed, binding), 'FAKE')
  await t.rejects(openKeyRing(db, [master(2)], clock), WrongMasterKeyError)
  await t.rejects(openKeyRing(db, [master(2)], clock), /Start with the original key/)
  const rotated = createVault(await openKeyRing(db, [master(2), master(1)], clock))
  t.equal(await rotated.open(sealed, binding), 'FAKE', 'a list with the old one does')
  t.equal((await db.selectFrom('data_keys').select('id').execute()).length, 1)
})

t.test('a data key that was moved to another id does not open', async (t) => {
  const { db } = await createTestDatabase(t)
  await openKeyRing(db, [master(1)], clock)
  await db.updateTable('data_keys').set({ id: '01900000-0000-7000-8000-0000000000bb' }).execute()
  await t.rejects(openKeyRing(db, [master(1)], clock), WrongMasterKeyError)
})

t.test('replicas that start at once on a fresh database make one data key', async (t) => {
  const { url, db } = await createTestDatabase(t)
  const pools = [1, 2, 3].map(() => openDatabase({ databaseUrl: url, dataDir: '', poolSize: 1 }))
  t.teardown(() => Promise.all(pools.map(({ close }) => close())))
  const rings = await Promise.all(pools.map((pool) => openKeyRing(pool.db, [master(1)], clock)))
  t.equal((await db.selectFrom('data_keys').select('id').execute()).length, 1)
  const [one, two, three] = rings.map((keyRing) => createVault(keyRing))
  const sealed = await one!.seal('FAKE', binding)
  t.equal(await two!.open(sealed, binding), 'FAKE')
  t.equal(await three!.open(sealed, binding), 'FAKE')
})

t.test('a data key that another replica made since is fetched when it is met', async (t) => {
  const { db } = await createTestDatabase(t)
  const early = createVault(await openKeyRing(db, [master(1)], clock))
  const [first] = await db.selectFrom('data_keys').selectAll().execute()
  await db.deleteFrom('data_keys').execute()
  const late = createVault(await openKeyRing(db, [master(1)], clock))
  await db.insertInto('data_keys').values(first!).execute()
  t.equal(await early.open(await late.seal('FAKE', binding), binding), 'FAKE')
})
