import { PostgresAdapter, PostgresDialect, sql, type Transaction } from 'kysely'
import type { Tables } from './tables.ts'

/** The lock of Kysely's own adapter: brokers of the first versions take that one. */
const LOCK = sql.lit(3_853_314_791_062_309_107n)

/**
 * Waits until no other process migrates, and keeps others from it until the end of the transaction. Kysely's own lock
 * belongs to the session, of which there is none behind a pooler, and stays when its transaction fails.
 */
export const lockMigrations = async (transaction: Transaction<Tables>): Promise<void> => {
  await sql`select pg_advisory_xact_lock(${LOCK})`.execute(transaction)
}

class LocklessAdapter extends PostgresAdapter {
  override async acquireMigrationLock(): Promise<void> {}
  override async releaseMigrationLock(): Promise<void> {}
}

/** For the connection on which migrations run, under `lockMigrations`. */
export class MigrationDialect extends PostgresDialect {
  override createAdapter(): LocklessAdapter {
    return new LocklessAdapter()
  }
}
