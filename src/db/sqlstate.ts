/** SQLSTATE codes by meaning (PostgreSQL documentation, appendix A). */
const UNIQUE_VIOLATION = '23505'
const FOREIGN_KEY_VIOLATION = '23503'
const LOCK_NOT_AVAILABLE = '55P03'

/**
 * Classes in which a statement of ours is wrong. Every other class says that the server cannot serve at the moment,
 * whatever the cause: connections (08), passwords (28), databases that are closed or gone (3D, 55), rollbacks by
 * deadlock or serialization (40), resources (53), an operator (57), disks (58), the server itself (XX).
 *
 * 0A: feature not supported; 20, 21, 22: data; 23: constraints; 24: cursors; 2D, 2F, 38, 39, P0: functions; 3F: schema
 * names; 42: syntax and names; 44: checks of views; 54: a statement that is too large.
 */
const FAULTS_OF_OURS = /^(0A|2[01234]|2D|2F|38|39|3F|42|44|54|P0)/
/** Within those classes, what says something of the server: a right that is missing; a pooler that mixed up statements. */
const NOT_OF_OURS = new Set(['42501', '42P05'])
/** A migration changed what a statement answers: PostgreSQL has no code of its own for it. */
const STALE_PLAN = { code: '0A000', message: /cached plan must not change result type/ }
/** A statement that failed so has changed nothing, and may pass at once on another connection. */
const PASSES_WHEN_REPEATED = /^(40...|26000|42P05)$/

type ServerError = Error & { code: string; severity: string }

/** An answer of the server, of PostgreSQL or PGlite, in contrast to a failure on the way there. */
export const isServerError = (error: unknown): error is ServerError =>
  error instanceof Error &&
  typeof (error as Partial<ServerError>).code === 'string' &&
  typeof (error as Partial<ServerError>).severity === 'string'

const codeOf = (error: unknown): string | undefined => (isServerError(error) ? error.code : undefined)

export const isUniqueViolation = (error: unknown): boolean => codeOf(error) === UNIQUE_VIOLATION
export const isForeignKeyViolation = (error: unknown): boolean => codeOf(error) === FOREIGN_KEY_VIOLATION
/** Somebody had the row or table locked for longer than a statement waits. */
export const isLockTimeout = (error: unknown): boolean => codeOf(error) === LOCK_NOT_AVAILABLE

const isStalePlan = ({ code, message }: ServerError): boolean =>
  code === STALE_PLAN.code && STALE_PLAN.message.test(message)

/** Whether the answer of the server means that it cannot serve, in contrast to a statement of ours that is wrong. */
export const meansUnavailable = (error: ServerError): boolean =>
  NOT_OF_OURS.has(error.code) || isStalePlan(error) || !FAULTS_OF_OURS.test(error.code)

/** Whether a single statement, outside of a transaction, is worth one more try on a new connection. */
export const passesWhenRepeated = (error: unknown): boolean =>
  isServerError(error) && (PASSES_WHEN_REPEATED.test(error.code) || isStalePlan(error))
