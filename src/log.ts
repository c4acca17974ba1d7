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

export const createLogger = (level: string, destination?: DestinationStream): Logger =>
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

/** Type, message, code and stack; none of the other properties, where libraries keep requests with their headers. */
const serializeError = (error: unknown) => {
  if (!(error instanceof Error)) return { message: 'something that is no Error was thrown' }
  const { name, message, stack } = error
  const { code } = error as Error & { code?: unknown }
  return { type: name, message, stack, ...(typeof code === 'string' ? { code } : {}) }
}
