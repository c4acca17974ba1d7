import t from 'tap'
import { migrateToLatest } from '../../src/db/migrate.ts'
import { openDatabase } from '../../src/db/open.ts'
import { setStage } from '../support/broker.ts'
import { startCluster } from '../support/postgres.ts'

const ROUNDS = 3
const LOOKUPS_AT_ONCE = 40

t.test(
  'a crash of PostgreSQL right after an answer leaves the lease of that answer in the table',
  async (t) => {
    const cluster = await startCluster({ durable: true })
    t.teardown(() => cluster.stop())
    const database = openDatabase({ databaseUrl: cluster.url, dataDir: '', poolSize: 5 })
    t.teardown(() => database.close())
    await migrateToLatest(database)
    const { broker, simulator } = await setStage(t, { broker: { database } })
    const { token } = simulator.world.createAccessToken({
      kind: 'personal',
      username: 'maria',
      scopes: ['read_api', 'read_repository'],
    })
    const connection = await broker.post('/v1/connections/personal-access-token', {
      organization: 'acme',
      base_url: simulator.url,
      token,
    })
    t.equal(connection.status, 201)

    const answered: string[] = []
    for (let round = 0; round < ROUNDS; round += 1) {
      let isUp = true
      const scanner = async () => {
        while (isUp) {
          const answer = await broker.get(`/v1/connections/${connection.body.id}/credential`)
          if (answer.status === 200) answered.push(answer.body.lease_id)
        }
      }
      const before = answered.length
      const scanners = Array.from({ length: LOOKUPS_AT_ONCE }, scanner)
      while (answered.length < before + LOOKUPS_AT_ONCE * 3)
        await new Promise((resolve) => setImmediate(resolve))
      // In the middle of it: some answers are out, others are being committed.
      await cluster.halt('crash')
      isUp = false
      await Promise.all(scanners)
      await cluster.resume()
    }

    const leases = await database.db.selectFrom('leases').select('id').execute()
    const kept = new Set(leases.map(({ id }) => id))
    t.ok(answered.length > LOOKUPS_AT_ONCE * ROUNDS, `${answered.length} answers`)
    t.same(
      answered.filter((id) => !kept.has(id)),
      [],
    )
  },
)
