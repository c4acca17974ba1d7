import { readConfig } from '../config/config.ts'
import { migrateToLatest } from '../db/migrate.ts'
import { openDatabase } from '../db/open.ts'

/** Brings the database of the environment to the newest schema, as every start does. */
export const migrate = async (): Promise<void> => {
  const config = readConfig(process.env)
  const { patientDb, close } = openDatabase({ ...config, poolSize: 1 })
  try {
    const applied = await migrateToLatest({ patientDb })
    process.stdout.write(
      applied.length > 0 ? `Applied ${applied.join(', ')}\n` : 'The schema is up to date\n',
    )
  } finally {
    await close()
  }
}
