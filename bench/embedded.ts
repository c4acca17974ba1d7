import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { migrateToLatest } from '../src/db/migrate.ts'
import { openDatabase } from '../src/db/open.ts'
import { MASTER_KEY, seedAccessKeys, seedConnections } from './seed.ts'
import { startServer } from './server-process.ts'
import { measureThroughput, type ThroughputTable, targetsOf } from './throughput.ts'

/** The embedded default under the same load: PGlite lives in the process of the broker. */
export const measureEmbedded = async (options: {
  connections: number[]
  rounds: number
  seconds: number
}): Promise<ThroughputTable> => {
  const dataDir = await mkdtemp(join(tmpdir(), 'gtb-bench-'))
  try {
    const { db, patientDb, close } = openDatabase({ databaseUrl: undefined, dataDir, poolSize: 1 })
    await migrateToLatest({ patientDb })
    await seedAccessKeys(db)
    const seeded = await seedConnections(db, 1_000, 1_000)
    await close()
    const broker = await startServer(
      'src/main.ts',
      { DATA_DIR: dataDir, MASTER_KEY, LOG_LEVEL: 'error' },
      '/readyz',
    )
    try {
      return await measureThroughput(targetsOf(broker, seeded), options)
    } finally {
      await broker.stop()
    }
  } finally {
    await rm(dataDir, { recursive: true, force: true })
  }
}
