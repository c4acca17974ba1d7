import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { migrateToLatest } from '../db/migrate.ts'
import { openDatabase } from '../db/open.ts'
import { dumpSchema } from '../db/schema-dump.ts'

/** Prints migrations/schema.sql: what the migrations make of an empty database, here one for the moment. */
export const schema = async (): Promise<void> => {
  const dataDir = await mkdtemp(join(tmpdir(), 'gtb-schema-'))
  const { db, patientDb, kind, close } = openDatabase({ databaseUrl: undefined, dataDir, poolSize: 1 })
  try {
    await migrateToLatest({ db, patientDb, kind })
    process.stdout.write(await dumpSchema(db))
  } finally {
    await close()
    await rm(dataDir, { recursive: true, force: true })
  }
}
