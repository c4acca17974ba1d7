import { createBenchDatabase } from './database.ts'
import { measure } from './load.ts'
import { seedFleet } from './seed.ts'
import { type ServerProcess, startBroker } from './server-process.ts'
import { targetsOf, warmUp } from './throughput.ts'
import { MASTER_KEY } from './vault.ts'

/** Lookups per second of all together, round by round. */
export type ReplicaRow = { replicas: number; perSecond: number[] }

const CONNECTIONS_PER_REPLICA = 32
const FLEET = 1_000

/** One, two and three processes on one database, each with its own clients. */
export const measureReplicas = async (
  counts: number[],
  { rounds, seconds }: { rounds: number; seconds: number },
): Promise<ReplicaRow[]> => {
  const database = await createBenchDatabase()
  const brokers: ServerProcess[] = []
  try {
    const scene = { seeded: await seedFleet(database.db, FLEET), database }
    await database.settle()
    const env = { DATABASE_URL: database.url, MASTER_KEY }
    while (brokers.length < Math.max(...counts)) brokers.push(await startBroker(env))
    const targets = brokers.map((broker) => targetsOf(broker, scene).c)
    for (const target of targets) await warmUp({ target })
    const results = new Map<number, number[]>(counts.map((count) => [count, []]))
    for (let round = 0; round < rounds; round += 1) {
      for (const count of counts) {
        const measured = await Promise.all(
          targets.slice(0, count).map((target) => measure(target, CONNECTIONS_PER_REPLICA, seconds)),
        )
        results.get(count)!.push(measured.reduce((sum, { perSecond }) => sum + perSecond, 0))
      }
    }
    return [...results].map(([replicas, all]) => ({ replicas, perSecond: all }))
  } finally {
    for (const broker of brokers) await broker.stop()
    await database.close()
  }
}
