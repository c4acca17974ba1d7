import { createBenchDatabase } from './database.ts'
import { seedFleet, seedLeases } from './seed.ts'
import { type ServerProcess, startBroker } from './server-process.ts'
import {
  measureThroughput,
  mergeThroughput,
  type Scene,
  type Throughput,
  targetsOf,
  warmUp,
} from './throughput.ts'
import { MASTER_KEY } from './vault.ts'

export type GrowthSubject = 'c' | 'd' | 'm'
export const GROWTH_SUBJECTS: GrowthSubject[] = ['c', 'd', 'm']
export type GrowthRow = { connections: number; peakMb: number } & Record<GrowthSubject, Throughput>

/** As many leases at every size: the table of a broker at work. */
const LEASES = 1_000_000
const CONNECTIONS = 32

type Stage = { connections: number; broker: ServerProcess; scene: Scene; close(): Promise<void> }

const createStage = async (connections: number): Promise<Stage> => {
  const database = await createBenchDatabase()
  const seeded = await seedFleet(database.db, connections)
  await seedLeases(database.db, LEASES)
  await database.settle()
  const broker = await startBroker({ DATABASE_URL: database.url, MASTER_KEY })
  return {
    connections,
    broker,
    scene: { seeded, database },
    async close() {
      await broker.stop()
      await database.close()
    },
  }
}

/** The same load on databases of different size, all at hand and measured in turn; every connection is asked for. */
export const measureGrowth = async (
  sizes: number[],
  { rounds, seconds }: { rounds: number; seconds: number },
): Promise<GrowthRow[]> => {
  const stages: Stage[] = []
  try {
    for (const size of sizes) stages.push(await createStage(size))
    const targets = stages.map(({ broker, scene }) => targetsOf(broker, scene))
    for (const target of targets) await warmUp(target)
    const results: Record<GrowthSubject, Throughput>[][] = stages.map(() => [])
    for (let round = 0; round < rounds; round += 1)
      for (const [index, target] of targets.entries()) {
        const table = await measureThroughput(target, { connections: [CONNECTIONS], rounds: 1, seconds })
        results[index]!.push(table[CONNECTIONS] as Record<GrowthSubject, Throughput>)
      }
    const rows: GrowthRow[] = []
    for (const [index, { connections, broker }] of stages.entries()) {
      const merge = (subject: GrowthSubject) => mergeThroughput(results[index]!.map((all) => all[subject]))
      rows.push({ connections, peakMb: await broker.peakMb(), c: merge('c'), d: merge('d'), m: merge('m') })
    }
    return rows
  } finally {
    for (const stage of stages) await stage.close()
  }
}
