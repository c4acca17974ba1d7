import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { migrateToLatest } from '../src/db/migrate.ts'
import { openDatabase } from '../src/db/open.ts'
import { seedFleet } from './seed.ts'
import { startBroker } from './server-process.ts'
import { measureThroughput, type ThroughputTable, targetsOf, warmUp } from './throughput.ts'
import { MASTER_KEY } from './vault.ts'

const FLEET = 1_000

/** The embedded default under the same load: PGlite lives in the process of the broker. */
export const measureEmbedded = async (options: {
  connections: number[]
  rounds: number
  seconds: number
}): Promise<ThroughputTable> => {
  const dataDir = await mkdtemp(join(tmpdir(), 'gtb-bench-'))
  try {
    const { db, patientDb, kind, close } = openDatabase({ databaseUrl: undefined, dataDir, poolSize: 1 })
    await migrateToLatest({ db, patientDb, kind })
    const seeded = await seedFleet(db, FLEET)
    await close()
    const broker = await startBroker({ DATA_DIR: dataDir, MASTER_KEY })
    try {
      const targets = targetsOf(broker, { seeded })
      await warmUp(targets)
      return await measureThroughput(targets, options)
    } finally {
      await broker.stop()
    }
  } finally {
    await rm(dataDir, { recursive: true, force: true })
  }
}
