import { readConfig } from '../config/config.ts'
import { migrate as applyMigrations } from '../db/migrate.ts'
import { MIGRATION_WAITS } from '../db/migration-waits.ts'
import { openDatabase } from '../db/open.ts'
import { grantToRoles } from '../db/roles.ts'
import { installSchedule } from '../jobs/schedule.ts'

/**
 * Brings the database of the environment to the newest schema, pg-boss's tables included, and gives the roles their
 * rights. Every start migrates as well, and does the rest only as far as its own role may.
 */
export const migrate = async (): Promise<void> => {
  const config = readConfig(process.env, { opensTokens: false })
  const { db, patientDb, jobStore, kind, close } = openDatabase({ ...config, poolSize: 1 })
  try {
    const { applied } = await applyMigrations(
      { db, patientDb, kind },
      { onWaiting: (wait) => process.stderr.write(`${MIGRATION_WAITS}: ${JSON.stringify(wait)}\n`) },
    )
    await installSchedule({ db: jobStore, backend: kind === 'embedded' ? 'pglite' : 'postgres' })
    await grantToRoles(db)
    process.stdout.write(
      applied.length > 0 ? `Applied ${applied.join(', ')}\n` : 'The schema is up to date\n',
    )
  } finally {
    await close()
  }
}
