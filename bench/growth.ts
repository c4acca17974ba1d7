import { createBenchDatabase } from './database.ts'
import { MASTER_KEY, type Seeded, seedConnections } from './seed.ts'
import { type ServerProcess, startServer } from './server-process.ts'
import { spread } from './stats.ts'
import { measureThroughput, type Subject, type Throughput, targetsOf } from './throughput.ts'

export type GrowthRow = { connections: number; rssMb: number | undefined } & Record<
  'c' | 'd' | 'e',
  Throughput
>

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
    const results = new Map<Stage, Record<Subject, Throughput>[]>(stages.map((stage) => [stage, []]))
    for (let round = 0; round < rounds; round += 1) {
      for (const stage of stages) {
        const table = await measureThroughput(targetsOf(stage.broker, stage.seeded), {
          connections: [32],
          rounds: 1,
          seconds,
        })
        results.get(stage)!.push(table[32] as Record<Subject, Throughput>)
      }
    }
    for (const [stage, all] of results) {
      rows.push({
        connections: stage.connections,
        rssMb: await stage.broker.rssMb(),
        c: merge(all.map(({ c }) => c)),
        d: merge(all.map(({ d }) => d)),
        e: merge(all.map(({ e }) => e)),
      })
    }
    return rows
  } finally {
    for (const stage of stages) await stage.close()
  }
}

const merge = (all: Throughput[]): Throughput => {
  const join = (pick: (one: Throughput) => number) => spread(all.map(pick))
  return {
    perSecond: join(({ perSecond }) => perSecond.median),
    p50: join(({ p50 }) => p50.median),
    p99: join(({ p99 }) => p99.median),
    errors: all.reduce((sum, { errors }) => sum + errors, 0),
  }
}
