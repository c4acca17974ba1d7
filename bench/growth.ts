import { createBenchDatabase } from './database.ts'
import { MASTER_KEY, type Seeded, seedConnections } from './seed.ts'
import { type ServerProcess, startServer } from './server-process.ts'
import { measureThroughput, mergeThroughput, type Throughput, targetsOf } from './throughput.ts'

export type GrowthSubject = 'c' | 'd' | 'e'
export type GrowthRow = { connections: number; rssMb: number } & Record<GrowthSubject, Throughput>

const LOOKED_UP = 1_000

type Stage = { connections: number; broker: ServerProcess; seeded: Seeded[]; close(): Promise<void> }

const createStage = async (connections: number): Promise<Stage> => {
  const database = await createBenchDatabase()
  const seeded = await seedConnections(database.db, connections, Math.min(LOOKED_UP, connections))
  await database.settle()
  const env = { DATABASE_URL: database.url, MASTER_KEY, LOG_LEVEL: 'error' }
  const broker = await startServer('src/main.ts', env, '/readyz')
  return {
    connections,
    broker,
    seeded,
    async close() {
      await broker.stop()
      await database.close()
    },
  }
}

/** The same load on databases of different size, all at hand and measured in turn. */
export const measureGrowth = async (
  sizes: number[],
  { rounds, seconds }: { rounds: number; seconds: number },
): Promise<GrowthRow[]> => {
  const stages: Stage[] = []
  try {
    for (const size of sizes) stages.push(await createStage(size))
    const rows: GrowthRow[] = []
    const results = new Map<Stage, Record<GrowthSubject, Throughput>[]>(stages.map((stage) => [stage, []]))
    for (let round = 0; round < rounds; round += 1) {
      for (const stage of stages) {
        const table = await measureThroughput(targetsOf(stage.broker, stage.seeded), {
          connections: [32],
          rounds: 1,
          seconds,
        })
        results.get(stage)!.push(table[32] as Record<GrowthSubject, Throughput>)
      }
    }
    for (const [stage, all] of results) {
      rows.push({
        connections: stage.connections,
        rssMb: await stage.broker.rssMb(),
        c: mergeThroughput(all.map(({ c }) => c)),
        d: mergeThroughput(all.map(({ d }) => d)),
        e: mergeThroughput(all.map(({ e }) => e)),
      })
    }
    return rows
  } finally {
    for (const stage of stages) await stage.close()
  }
}
