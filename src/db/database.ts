import { type Kysely, sql } from 'kysely'
import type { fromPglite } from 'pg-boss'
import { isConnectionError } from './sqlstate.ts'
import type { Tables } from './tables.ts'

/** A pool or a transaction: every function of a queries.ts takes one first, and uses no other. */
export type Database = Kysely<Tables>

export type JobStore = ReturnType<typeof fromPglite>

/** A statement that each database connection parses once. */
export type PreparedStatement = { name: string; text: string }
/** Runs a prepared statement on any connection, outside of transactions. */
export type RunPrepared = <Row>(statement: PreparedStatement, values: unknown[]) => Promise<Row[]>

export type OpenDatabase = {
  db: Database
  kind: 'postgresql' | 'embedded'
  /** Runs the few statements of the hot path: building their SQL for each call would cost more than running it. */
  runPrepared: RunPrepared
  /**
   * A connection without time limits, for migrations: changing a large table or waiting for another process takes
   * long.
   */
  patientDb: Database
  /** Gives the connections of `db` to pg-boss, which brings its own SQL. */
  jobStore: JobStore
  close(): Promise<void>
}

export type DatabaseOptions = {
  /** undefined = PGlite in `dataDir`. */
  databaseUrl: string | undefined
  dataDir: string
  poolSize: number
  /** Called when an idle connection breaks. The pool replaces the connection by itself. */
  onIdleError?: (error: Error) => void
  /** How long a connection may wait for an answer before the connection is closed; default 15 s. */
  silenceLimitMs?: number
}

/** Whether an error means that the database is away. A statement that the database refused is another thing. */
export const isDatabaseUnavailable = (error: unknown): boolean =>
  error instanceof AggregateError ? error.errors.some(isConnectionError) : isConnectionError(error)

/** Asks the database for anything at all. Throws the driver's error when the database is away. */
export const isDatabaseReady = async (db: Database): Promise<boolean> =>
  (await sql`select 1`.execute(db)).rows.length === 1
