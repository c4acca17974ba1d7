// The rest is loaded after the signals have a listener: as process 1 of a container Node would ignore them before.
import type { OpenedBroker } from './start.ts'

const LEAST_NODE_MAJOR = 24
/** Longer than GitLab may take to answer with a token that exists nowhere else (gitlab/http-client.ts). */
const SHUTDOWN_LIMIT_MS = 160_000

const fail = (message: string): never => {
  process.stderr.write(`${message}\n`)
  process.exit(1)
}

// Libraries that it names print what they are given, client secrets among it. They read it when they are loaded.
delete process.env.DEBUG

let stopSignal: string | undefined
let shutDown: (signal: string) => void = () => process.exit(0)
for (const signal of ['SIGTERM', 'SIGINT'])
  process.on(signal, () => {
    if (stopSignal !== undefined) return
    stopSignal = signal
    shutDown(signal)
  })

if (Number(process.versions.node.split('.')[0]) < LEAST_NODE_MAJOR) {
  fail(
    `This takes Node ${LEAST_NODE_MAJOR} or newer; it runs on ${process.versions.node}. "npm start" brings its own.`,
  )
}

const { ConfigError, readConfig } = await import('./config/config.ts')
const { DataFolderError } = await import('./config/data-folder.ts')
const { PoolerError } = await import('./db/server.ts')
const { createLogger, describeFault, messageOf } = await import('./log.ts')
const { openBroker } = await import('./start.ts')
const { WrongMasterKeyError } = await import('./vault/key-ring.ts')

/** What its message says in full. */
const SELF_EXPLAINING = [ConfigError, DataFolderError, PoolerError, WrongMasterKeyError]

/** A host name with two addresses fails twice, and the whole then has no message of its own. */
const reasonOf = (error: unknown): string => {
  if (error instanceof AggregateError && error.errors.length > 0)
    return [...new Set(error.errors.map(reasonOf))].join('; ')
  return (error instanceof Error && messageOf(error)) || 'unknown error'
}

let closeAll: () => Promise<void> = () => Promise.resolve()
let isFailing = false

/**
 * What nothing else caught. Node would print the error with all that libraries hang on it, such as their options. Calls
 * to GitLab under way still end: their answer may be the only copy of a token.
 */
const endAfter = (error: unknown): void => {
  if (isFailing) return
  isFailing = true
  process.stderr.write(`The process ends after an error that nothing handles: ${describeFault(error)}\n`)
  setTimeout(() => process.exit(1), SHUTDOWN_LIMIT_MS).unref()
  closeAll()
    .catch(() => undefined)
    .finally(() => process.exit(1))
}
process.on('uncaughtException', endAfter)
process.on('unhandledRejection', endAfter)

const failToStart = (error: unknown): never =>
  fail(
    error instanceof Error && SELF_EXPLAINING.some((kind) => error instanceof kind)
      ? error.message
      : `Could not start: ${reasonOf(error)}`,
  )

const start = async (): Promise<void> => {
  const config = readConfig(process.env)
  const logger = createLogger(config.logLevel)
  const broker: OpenedBroker = await openBroker(config, logger)
  closeAll = () => broker.close()

  let isReady = false
  shutDown = async (signal) => {
    const { shutdownDelaySeconds: delaySeconds } = config
    logger.info({ signal, delay_seconds: delaySeconds }, 'shutting down')
    // Nothing was served yet, opening an embedded database cannot be hurried, and one that is broken off is not begun.
    if (!isReady && broker.database.kind === 'embedded') process.exit(0)
    const limitMs = delaySeconds * 1000 + SHUTDOWN_LIMIT_MS
    setTimeout(() => fail('Shutdown took too long.'), limitMs).unref()
    await broker.close({ delaySeconds })
    process.exit(0)
  }

  const about = { url: broker.url, public_url: config.publicUrl, database: broker.database.kind }
  logger.debug(about, 'open, not ready yet')
  const { newAdminKey } = await broker.ready.catch(async (error: unknown) => {
    if (stopSignal === undefined) await broker.close().catch(() => undefined)
    throw error
  })
  isReady = true
  logger.info(about, 'listening')
  if (newAdminKey) {
    logger.flush()
    process.stdout.write(
      `\n  Your admin access key, shown this once: ${newAdminKey}\n  Swagger UI: ${broker.url}/docs\n\n`,
    )
  }
}

await start().catch((error: unknown) => {
  // An end that was asked for breaks the start off: the process exits when it has closed everything.
  if (stopSignal === undefined) failToStart(error)
})
