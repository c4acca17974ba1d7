import t from 'tap'
import { createRefusals } from '../../src/audit/refusals.ts'
import { createLogger } from '../../src/log.ts'
import { VaultError } from '../../src/vault/vault.ts'
import { createFakeClock } from '../support/clock.ts'
import { createTestDatabase } from '../support/database.ts'
import { until } from '../support/lifecycle.ts'

t.test('a flood from one address is two events, and the second says how many there were', async (t) => {
  const { db } = await createTestDatabase(t)
  const refusals = createRefusals({ db, clock: createFakeClock(), logger: createLogger('silent') })
  for (let round = 0; round < 1_000; round += 1)
    refusals.note({ action: 'access.unauthorized', address: '192.0.2.1', requestId: `request-${round}` })
  refusals.note({ action: 'access.unauthorized', address: '192.0.2.2' })
  await refusals.close()
  const events = await db.selectFrom('audit_events').selectAll().orderBy('id').execute()
  t.match(events, [
    { address: '192.0.2.1', request_id: 'request-0', outcome: 'refused', details: { count: 1 } },
    { address: '192.0.2.2', details: { count: 1 } },
    { address: '192.0.2.1', request_id: 'request-999', details: { count: 999 } },
  ])
  t.equal(events.length, 3)
})

t.test('a flood from everywhere fills no table', async (t) => {
  const { db } = await createTestDatabase(t)
  const refusals = createRefusals({ db, clock: createFakeClock(), logger: createLogger('silent') })
  for (let address = 0; address < 5_000; address += 1)
    refusals.note({ action: 'access.unauthorized', address: `2001:db8::${address.toString(16)}` })
  await refusals.close()
  const events = await db.selectFrom('audit_events').select(['address', 'details']).orderBy('id').execute()
  t.ok(events.length <= 202, `${events.length} events`)
  const counted = events.map(({ details }) => (details as unknown as { count: number }).count)
  t.equal(
    counted.reduce((sum, count) => sum + count),
    5_000,
  )
  t.match(
    events.filter(({ address }) => address === null),
    [{ details: { addresses: 'many', count: 1 } }, { details: { addresses: 'many', count: 4_799 } }],
  )
})

t.test('a ciphertext that does not open is told once, with who met it where that is known', async (t) => {
  const { db } = await createTestDatabase(t)
  const refusals = createRefusals({ db, clock: createFakeClock(), logger: createLogger('silent') })
  const met = new VaultError('FAKE', { ownerId: 'one', version: 1, use: 'access' })
  refusals.noteDamage(met)
  refusals.noteError(met, { address: '192.0.2.1' })
  refusals.noteDamage(new VaultError('FAKE', { ownerId: 'two', version: 2, use: 'refresh' }))
  const read = () => db.selectFrom('audit_events').selectAll().orderBy('subject_id').execute()
  await until(async () => (await read()).length === 2)
  await refusals.close()
  t.match(await read(), [
    {
      action: 'secret.tampered',
      subject_id: 'one',
      address: '192.0.2.1',
      outcome: 'failed',
      details: { count: 1 },
    },
    { action: 'secret.tampered', subject_id: 'two', address: null, details: { use: 'refresh', version: 2 } },
  ])
})

t.test('a database that is away keeps nobody from being refused', async (t) => {
  const database = await createTestDatabase(t)
  const lines: string[] = []
  const logger = createLogger('info', { write: (line: string) => void lines.push(line) })
  const refusals = createRefusals({ db: database.db, clock: createFakeClock(), logger })
  await database.db.selectFrom('audit_events').selectAll().execute()
  await database.close()
  refusals.note({ action: 'access.unauthorized', address: '192.0.2.1' })
  await refusals.close()
  t.match(lines.join(''), 'refused acts were not recorded')
})
