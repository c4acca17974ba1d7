/** SQLSTATE codes by meaning (PostgreSQL documentation, appendix A). */
const UNIQUE_VIOLATION = '23505'
const FOREIGN_KEY_VIOLATION = '23503'
/**
 * 08: connection exceptions. 57P01..03: the server shuts down, crashed, or starts. 53: out of resources. 25006: the
 * server is read-only. 57014: a statement took too long. 55P03: a lock took too long. 25P03: a transaction did nothing
 * for too long.
 */
const UNAVAILABLE = /^(08...|57P0[1-3]|53...|25006|57014|55P03|25P03)$/
const UNAVAILABLE_SYSTEM_ERRORS = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ENOTFOUND',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENOENT',
  'EAI_AGAIN',
])
/** Messages of node-postgres that come without a code. */
const UNAVAILABLE_MESSAGES =
  /Connection terminated|timeout exceeded when trying to connect|Query read timeout|not queryable|Client was closed|the database system is/i

const codeOf = (error: unknown): string | undefined => {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' ? code : undefined
}

export const isUniqueViolation = (error: unknown): boolean => codeOf(error) === UNIQUE_VIOLATION
export const isForeignKeyViolation = (error: unknown): boolean => codeOf(error) === FOREIGN_KEY_VIOLATION

export const isConnectionError = (error: unknown): boolean => {
  const code = codeOf(error)
  if (code !== undefined) return UNAVAILABLE.test(code) || UNAVAILABLE_SYSTEM_ERRORS.has(code)
  return error instanceof Error && UNAVAILABLE_MESSAGES.test(error.message)
}
