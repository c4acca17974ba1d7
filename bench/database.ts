import { sql } from 'kysely'
import type { Database } from '../src/db/database.ts'
import { migrateToLatest } from '../src/db/migrate.ts'
import { openDatabase } from '../src/db/open.ts'
import { type Cluster, startCluster } from '../test/support/postgres.ts'
import { parentOf } from './cpu.ts'

export type BenchDatabase = {
  url: string
  db: Database
  /** The process of the server. */
  postmaster: number
  settle(): Promise<void>
  close(): Promise<void>
}

/** A PostgreSQL of the run's own, with its default durability: fsync and synchronous_commit are on. */
export const createBenchDatabase = async (): Promise<BenchDatabase> => {
  const cluster: Cluster = await startCluster({ durable: true })
  const { db, patientDb, kind, close } = openDatabase({ databaseUrl: cluster.url, dataDir: '', poolSize: 4 })
  await migrateToLatest({ db, patientDb, kind })
  const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(db)
  return {
    url: cluster.url,
    // What fills a database takes longer than a statement may: on a slow disk much longer.
    db: patientDb,
    postmaster: parentOf(rows[0]!.pid),
    /** So that the planner knows the tables, and no checkpoint of the seeding runs into a measurement. */
    async settle() {
      await sql`vacuum analyze`.execute(patientDb)
      await sql`checkpoint`.execute(patientDb)
    },
    async close() {
      await close()
      await cluster.stop()
    },
  }
}
