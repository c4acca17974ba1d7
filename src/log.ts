import { type DestinationStream, type Logger, pino } from 'pino'

/** Fields that hold secrets wherever they appear; what is logged on purpose has none of them. */
const REDACTED = [
  'authorization',
  'cookie',
  'token',
  'access_token',
  'refresh_token',
  'client_secret',
  'password',
  'key',
]

/** With one more line below PIPE_BUF: what other processes write to the same pipe does not come between (pipe(7)). */
const CHUNK_BYTES = 3_000

/** Standard output, the lines of one turn of the event loop in one write: one for each would cost more than its line. */
const createStandardOutput = () => {
  const output = pino.destination({ minLength: CHUNK_BYTES, sync: true })
  let isScheduled = false
  const flush = () => {
    isScheduled = false
    output.flush()
  }
  process.on('exit', flush)
  return {
    write(line: string) {
      output.write(line)
      if (isScheduled) return
      isScheduled = true
      setImmediate(flush)
    },
    flush,
    /** Pino calls this after a line of level fatal. */
    flushSync: flush,
  }
}

let standardOutput: DestinationStream | undefined

const openStandardOutput = (): DestinationStream => {
  standardOutput ??= createStandardOutput()
  return standardOutput
}

export const createLogger = (level: string, destination = openStandardOutput()): Logger =>
  pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: REDACTED.flatMap((name) => [name, `*.${name}`]), censor: '[redacted]' },
      serializers: { err: serializeError },
    },
    destination,
  )

/** Lines of the audit record, each with `audit: true`: at every level of the log but silent. */
export const createAuditLog = (logger: Logger): Logger =>
  logger.child({ audit: true }, logger.level === 'silent' ? {} : { level: 'info' })

/** Type, message, code and stack; none of the other properties, where libraries keep requests with their headers. */
const serializeError = (error: unknown) => {
  if (!(error instanceof Error)) return { message: 'something that is no Error was thrown' }
  const { name, message, stack } = error
  const { code } = error as Error & { code?: unknown }
  return { type: name, message, stack, ...(typeof code === 'string' ? { code } : {}) }
}
