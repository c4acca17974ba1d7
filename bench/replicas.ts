import { createBenchDatabase } from './database.ts'
import { measure } from './load.ts'
import { MASTER_KEY, seedConnections } from './seed.ts'
import { type ServerProcess, startServer } from './server-process.ts'
import { targetsOf } from './throughput.ts'

/** Lookups per second of all together, round by round. */
export type ReplicaRow = { replicas: number; perSecond: number[] }

const CONNECTIONS_PER_REPLICA = 32

/** One, two and three processes on one database, each with its own clients. */
export const measureReplicas = async (
  counts: number[],
  { rounds, seconds }: { rounds: number; seconds: number },
): Promise<ReplicaRow[]> => {
  const database = await createBenchDatabase()
  const brokers: ServerProcess[] = []
  try {
    const seeded = await seedConnections(database.db, 1_000, 1_000)
    await database.settle()
    const env = { DATABASE_URL: database.url, MASTER_KEY, LOG_LEVEL: 'error' }
    while (brokers.length < Math.max(...counts))
      brokers.push(await startServer('src/main.ts', env, '/readyz'))
    const results = new Map<number, number[]>(counts.map((count) => [count, []]))
    for (let round = 0; round < rounds; round += 1) {
      for (const count of counts) {
        const measured = await Promise.all(
          brokers
            .slice(0, count)
            .map((broker) => measure(targetsOf(broker, seeded).c!, CONNECTIONS_PER_REPLICA, seconds)),
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
