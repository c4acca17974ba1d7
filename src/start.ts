import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { ensureFirstAdminKey } from './access-keys/bootstrap.ts'
import { createApp, type WiredApp } from './app.ts'
import type { Clock } from './clock/clock.ts'
import type { Config } from './config/config.ts'
import { masterKeysOf } from './config/master-key.ts'
import { causeOf, isDatabaseUnavailable } from './db/availability.ts'
import type { OpenDatabase } from './db/database.ts'
import { migrate, SchemaError } from './db/migrate.ts'
import { MIGRATION_WAITS } from './db/migration-waits.ts'
import { openDatabase } from './db/open.ts'
import { PoolerError } from './db/server.ts'
import { isServerError } from './db/sqlstate.ts'
import { watchDatabase } from './db/watch.ts'
import { CLOCK_WARNING_MS, createProcessState, type ProcessState } from './http/readiness.ts'
import type { App } from './http/server.ts'
import { type Schedule, startSchedule } from './jobs/schedule.ts'
import { ensureConfiguredApp } from './oauth-apps/configured-app.ts'
import { openKeyRing } from './vault/key-ring.ts'
import { createLateKeyRing, type LateKeyRing } from './vault/late-key-ring.ts'
import { createVault } from './vault/vault.ts'

const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 1_000

export type OpenedBroker = {
  app: App
  database: OpenDatabase
  /** Where it listens: http://host:port. */
  url: string
  /**
   * Requests are served. Waits for a database that is away, however long; rejects for what waiting cannot cure, such as
   * a wrong master key. The admin key was made for a fresh embedded database: to be shown once.
   */
  ready: Promise<{ newAdminKey: string | undefined }>
  /** Announces the end, goes on serving for a while, lets requests under way end, then closes the database. */
  close(options?: { delaySeconds?: number }): Promise<void>
}

export type Broker = Omit<OpenedBroker, 'ready'> & { newAdminKey: string | undefined }

type Starting = {
  config: Config
  logger: Logger
  clock: Clock
  database: OpenDatabase
  state: ProcessState
  keyRing: LateKeyRing
  wired: WiredApp
}

/** Each step can be taken again: the database may go away between any two. */
const prepare = async ({ config, logger, clock, database, state, keyRing, wired }: Starting) => {
  const { db } = database
  // Before anything is changed: this refuses a pooler that was not announced.
  await database.readFacts()
  logger.debug('migrating the database, or waiting for another process that does')
  const { applied, unknown } = await migrate(database, {
    onWaiting(wait) {
      logger.warn(wait, MIGRATION_WAITS)
      state.waitingFor = `${MIGRATION_WAITS} (process ${wait.blockers.map(({ pid }) => pid).join(', ')})`
    },
  })
  if (applied.length > 0) logger.info({ migrations: applied }, 'database migrated')
  if (unknown.length > 0)
    logger.warn({ migrations: unknown }, 'a newer version migrated the database; this one can live with it')

  const embedded = database.kind === 'embedded'
  keyRing.open(await openKeyRing(db, masterKeysOf(config), clock))
  state.keysOpen = true
  if (config.gitlabApp)
    await ensureConfiguredApp(db, { vault: createVault(keyRing.ring), clock }, config.gitlabApp)
  await wired.takeUpSpool()
  await wired.history.check()
  // Last: a key that was made and not shown, because a later step failed, would be lost for good.
  return ensureFirstAdminKey(db, {
    configuredKey: config.bootstrapAdminKey,
    mayGenerate: embedded,
    clock,
    logger,
  })
}

/** Whether a later try may succeed without anybody changing the configuration. */
const mayPass = (error: unknown): boolean =>
  !(error instanceof PoolerError) &&
  (isDatabaseUnavailable(error) || isServerError(error) || error instanceof SchemaError)

/** @returns the admin key that was made, to be shown once. */
const prepareUntilDone = async (starting: Starting, stopping: AbortSignal): Promise<string | undefined> => {
  const { state, logger } = starting
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
    try {
      return await prepare(starting)
    } catch (error) {
      if (stopping.aborted || !mayPass(error)) throw error
      const cause = causeOf(error)
      if (cause !== state.waitingFor) logger.warn({ cause }, 'not ready yet')
      state.waitingFor = cause
    }
    await sleep(pauseMs, undefined, { signal: stopping })
  }
}

const urlOf = ({ host }: Config, app: App): string => {
  const { port } = app.server.address() as AddressInfo
  return `http://${host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host}:${port}`
}

/**
 * From a configuration to a server that listens, and becomes ready when its database does.
 * @param fixedClock instead of the clock of the database, for what moves the time itself.
 */
export const openBroker = async (
  config: Config,
  logger: Logger,
  fixedClock?: Clock,
): Promise<OpenedBroker> => {
  const database = openDatabase({
    databaseUrl: config.databaseUrl,
    databasePooler: config.databasePooler,
    dataDir: config.dataDir,
    poolSize: config.databasePoolSize,
    onIdleError: (error) => logger.debug({ err: error }, 'an idle database connection broke'),
  })
  const watch = watchDatabase(database, logger, { clockWarningMs: CLOCK_WARNING_MS })
  const clock = fixedClock ?? database.clock.now
  const state = createProcessState({ waitingFor: 'the first steps are under way', keysOpen: false })
  const keyRing = createLateKeyRing()
  const stopping = new AbortController()
  let schedule: Schedule | undefined
  let wired: WiredApp | undefined
  let prepared: Promise<unknown> | undefined
  let stopWatchingHistory = () => {}

  const close: OpenedBroker['close'] = async ({ delaySeconds = 0 } = {}) => {
    state.draining = true
    stopping.abort()
    // First what would begin new work, then what the work needs.
    await Promise.all([
      sleep(delaySeconds * 1000),
      wired?.jobs.stop(),
      schedule?.stop().catch(() => undefined),
    ])
    await wired?.app.close()
    // Not before: what was saved while a late answer was waited for is given back to a database that went back.
    stopWatchingHistory()
    watch.stop()
    await database.close()
    await prepared?.catch(() => undefined)
  }

  try {
    wired = await createApp({
      db: database.db,
      runPrepared: database.runPrepared,
      probed: database,
      state,
      keyRing: keyRing.ring,
      masterKeys: () => masterKeysOf(config),
      clock,
      logger,
      config,
    })
    const { app, jobs, history } = wired
    await app.listen({ host: config.host, port: config.port })
    const starting = { config, logger, clock, database, state, keyRing, wired }
    const ready = prepareUntilDone(starting, stopping.signal).then((newAdminKey) => {
      state.waitingFor = undefined
      if (stopping.signal.aborted) return { newAdminKey }
      stopWatchingHistory = history.watch()
      // Serving does not wait for it: pg-boss makes its own tables first.
      const backend = database.kind === 'embedded' ? 'pglite' : 'postgres'
      schedule = startSchedule({ db: database.jobStore, backend }, jobs, logger)
      return { newAdminKey }
    })
    prepared = ready
    return { app, database, url: urlOf(config, app), ready, close }
  } catch (error) {
    await close().catch(() => undefined)
    throw error
  }
}

/** The same, for whoever needs it ready: closes what was opened when it cannot become so. */
export const startBroker = async (...args: Parameters<typeof openBroker>): Promise<Broker> => {
  const { ready, ...broker } = await openBroker(...args)
  try {
    return { ...broker, ...(await ready) }
  } catch (error) {
    await broker.close().catch(() => undefined)
    throw error
  }
}
