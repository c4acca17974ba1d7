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

/** How secrets look that could stand in the message of a library: URLs with a password, tokens, keys, ciphertexts. */
const SECRET_SHAPES = [
  /(?<=:\/\/)[^\s/@]+(?=@)/g,
  /(?<=\b(?:bearer|basic) +)[\w.~+/=-]{8,}/gi,
  /\bgl[a-z]{2,10}-[\w.-]{8,}/gi,
  /\bgtb_[\w-]+/g,
  /\beyJ[\w-]+(?:\.[\w-]*){2,4}/g,
  /\b[0-9a-f]{40,}\b/gi,
]
const MASK = '[redacted]'
/** Errors of Node and of PostgreSQL (class 22) whose messages quote the value that was wrong. */
const QUOTING_CODE = /^(22...|ERR_INVALID_.*|ERR_UNESCAPED_.*|ERR_OUT_OF_RANGE)$/
const QUOTED = /["'`].*["'`]|(?<=\bReceived ).*/s
const FRAME = /^ +at .*(?:\d|\)|>)$/
const WORD = /^\w{1,64}$/

export const maskSecrets = (text: string): string =>
  SECRET_SHAPES.reduce((masked, shape) => masked.replace(shape, MASK), text)

const wordOr = (value: unknown, fallback: string): string =>
  typeof value === 'string' && WORD.test(value) ? value : fallback

/** The message without the values that it may quote. */
export const messageOf = (error: Error): string => {
  const { code } = error as Error & { code?: unknown }
  const quotes = error instanceof SyntaxError || QUOTING_CODE.test(String(code))
  return maskSecrets(quotes ? error.message.replace(QUOTED, MASK) : error.message)
}

const framesOf = ({ stack = '', message }: Error): string[] =>
  stack
    .replace(message, '')
    .split('\n')
    .filter((line) => FRAME.test(line))

/** What may be said of an error that nothing expected, by the handler of last resort: name, code and frames, no value. */
export const describeFault = (error: unknown): string => {
  if (!(error instanceof Error)) return 'something that is no Error was thrown'
  const { code } = error as Error & { code?: unknown }
  const words = [wordOr(error.name, 'Error'), wordOr(code, '')].filter(Boolean)
  return [words.join(' '), ...framesOf(error)].join('\n')
}
/** Lines of the audit record, each with `audit: true`: at every level of the log but silent. */
export const createAuditLog = (logger: Logger): Logger =>
  logger.child({ audit: true }, logger.level === 'silent' ? {} : { level: 'info' })

/** Type, message, code and stack; none of the other properties, where libraries keep requests with their headers. */
const serializeError = (error: unknown) => {
  if (!(error instanceof Error)) return { message: 'something that is no Error was thrown' }
  const { name } = error
  const { code } = error as Error & { code?: unknown }
  const message = messageOf(error)
  const stack = [`${name}: ${message}`, ...framesOf(error)].join('\n')
  return { type: name, message, stack, ...(typeof code === 'string' ? { code } : {}) }
}
