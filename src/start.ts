import type { AddressInfo } from 'node:net'
import type { Logger } from 'pino'
import { ensureFirstAdminKey } from './access-keys/bootstrap.ts'
import { createApp } from './app.ts'
import type { Clock } from './clock/clock.ts'
import { systemClock } from './clock/clock.ts'
import type { Config } from './config/config.ts'
import { masterKeysOf } from './config/master-key.ts'
import type { OpenDatabase } from './db/database.ts'
import { migrateToLatest } from './db/migrate.ts'
import { openDatabase } from './db/open.ts'
import type { App } from './http/server.ts'
import { startSchedule } from './jobs/schedule.ts'
import { ensureConfiguredApp } from './oauth-apps/configured-app.ts'
import { openKeyRing } from './vault/key-ring.ts'
import { createVault } from './vault/vault.ts'

export type Broker = {
  app: App
  database: OpenDatabase
  /** Where it listens: http://host:port. */
  url: string
  /** The admin key that was made for a fresh embedded database: to be shown once. */
  newAdminKey: string | undefined
  /** Lets requests under way end, then closes the database. */
  close(): Promise<void>
}

/** Everything from a configuration to a listening server. Closes what it opened when a step fails. */
export const startBroker = async (
  config: Config,
  logger: Logger,
  clock: Clock = systemClock,
): Promise<Broker> => {
  const database = openDatabase({
    databaseUrl: config.databaseUrl,
    dataDir: config.dataDir,
    poolSize: config.databasePoolSize,
    onIdleError: (error) => logger.warn({ err: error }, 'a database connection broke'),
  })
  try {
    const { db } = database
    logger.debug('migrating the database, or waiting for another process that does')
    const migrations = await migrateToLatest(database)
    if (migrations.length > 0) logger.info({ migrations }, 'database migrated')

    const embedded = database.kind === 'embedded'
    const masterKeys = masterKeysOf(config)
    const keyRing = await openKeyRing(db, masterKeys, clock)
    if (config.gitlabApp)
      await ensureConfiguredApp(db, { vault: createVault(keyRing), clock }, config.gitlabApp)

    const { app, jobs, takeUpSpool } = await createApp({
      db,
      runPrepared: database.runPrepared,
      keyRing,
      masterKeys,
      clock,
      logger,
      config,
    })
    await takeUpSpool()
    await app.listen({ host: config.host, port: config.port })
    // Last: a key that was made and not shown, because a later step failed, would be lost for good.
    const newAdminKey = await ensureFirstAdminKey(db, {
      configuredKey: config.bootstrapAdminKey,
      mayGenerate: embedded,
      clock,
    })
    // Serving does not wait for it: pg-boss makes its own tables first.
    const schedule = startSchedule(
      { db: database.jobStore, backend: embedded ? 'pglite' : 'postgres' },
      jobs,
      logger,
    )
    const { port } = app.server.address() as AddressInfo
    const host = config.host === '0.0.0.0' || config.host === '::' ? '127.0.0.1' : config.host
    return {
      app,
      database,
      url: `http://${host}:${port}`,
      newAdminKey,
      async close() {
        // First what would begin new work, then what the work needs.
        await Promise.all([jobs.stop(), schedule.stop().catch(() => undefined)])
        await app.close()
        await database.close()
      },
    }
  } catch (error) {
    await database.close().catch(() => undefined)
    throw error
  }
}
