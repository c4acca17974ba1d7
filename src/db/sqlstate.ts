/** SQLSTATE codes by meaning (PostgreSQL documentation, appendix A). */
const UNIQUE_VIOLATION = '23505'
const FOREIGN_KEY_VIOLATION = '23503'
/** Class 08: connection exceptions; 57P01..03: the server shuts down, crashed, or starts; 53: out of resources; 57014:
 * the limit of a statement; 55P03: of waiting for a lock; 25P03: of a transaction that does nothing. */
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
/** node-postgres reports these without a code. */
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
