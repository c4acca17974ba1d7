import { ConfigError, readConfig } from './config/config.ts'
import { createLogger, describeFault, messageOf } from './log.ts'
import { type Broker, startBroker } from './start.ts'

const LEAST_NODE_MAJOR = 24
/** Longer than a call to GitLab may take, so that its answer is saved; shorter than an orchestrator's patience. */
const SHUTDOWN_LIMIT_MS = 25_000

const fail = (message: string): never => {
  process.stderr.write(`${message}\n`)
  process.exit(1)
}

if (Number(process.versions.node.split('.')[0]) < LEAST_NODE_MAJOR) {
  fail(
    `This takes Node ${LEAST_NODE_MAJOR} or newer; it runs on ${process.versions.node}. "npm start" brings its own.`,
  )
}

/** A host name with two addresses fails twice, and the whole then has no message of its own. */
const reasonOf = (error: unknown): string => {
  if (error instanceof AggregateError) return error.errors.map(reasonOf).join('; ')
  return error instanceof Error ? messageOf(error) : 'unknown error'
}

let close: () => Promise<void> = () => Promise.resolve()
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
  close()
    .catch(() => undefined)
    .finally(() => process.exit(1))
}
process.on('uncaughtException', endAfter)
process.on('unhandledRejection', endAfter)

const start = async (): Promise<Broker> => {
  try {
    const config = readConfig(process.env)
    const logger = createLogger(config.logLevel)
    const broker = await startBroker(config, logger)
    logger.info(
      { url: broker.url, public_url: config.publicUrl, database: broker.database.kind },
      'listening',
    )
    if (broker.newAdminKey) {
      logger.flush()
      process.stdout.write(
        `\n  Your admin access key, shown this once: ${broker.newAdminKey}\n  Swagger UI: ${broker.url}/docs\n\n`,
      )
    }

    let closing = false
    const shutDown = async (signal: string): Promise<void> => {
      if (closing) return
      closing = true
      logger.info({ signal }, 'shutting down')
      setTimeout(() => fail('Shutdown took too long.'), SHUTDOWN_LIMIT_MS).unref()
      await broker.close()
      process.exit(0)
    }
    close = () => broker.close()
    process.on('SIGTERM', shutDown)
    process.on('SIGINT', shutDown)
    return broker
  } catch (error) {
    const isExpected =
      error instanceof ConfigError || (error instanceof Error && error.name === 'WrongMasterKeyError')
    return fail(isExpected ? error.message : `Could not start: ${reasonOf(error)}`)
  }
}

await start()
