import { type Kysely, sql } from 'kysely'
import type { fromPglite } from 'pg-boss'
import { isConnectionError } from './sqlstate.ts'
import type { Tables } from './tables.ts'

/** A pool or a transaction: every function of a queries.ts takes one first, and uses no other. */
export type Database = Kysely<Tables>

export type JobStore = ReturnType<typeof fromPglite>

/** A statement that every connection parses once. */
export type PreparedStatement = { name: string; text: string }
/** Runs one on any connection, outside of transactions. */
export type RunPrepared = <Row>(statement: PreparedStatement, values: unknown[]) => Promise<Row[]>

export type OpenDatabase = {
  db: Database
  kind: 'postgresql' | 'embedded'
  /** For the few statements of the hot path, where building SQL for each call would cost more than running it. */
  runPrepared: RunPrepared
  /** A connection without time limits, for migrations: one of a large table, or the wait for another process's, takes long. */
  patientDb: Database
  /** The connections of `db` for pg-boss, which brings its own SQL. */
  jobStore: JobStore
  close(): Promise<void>
}

export type DatabaseOptions = {
  /** undefined = PGlite in `dataDir`. */
  databaseUrl: string | undefined
  dataDir: string
  poolSize: number
  /** Called when an idle connection breaks; the pool replaces it by itself. */
  onIdleError?: (error: Error) => void
  /** How long a connection that waits for an answer may hear nothing before it is given up; 15 s. */
  silenceLimitMs?: number
}

/** Whether an error means that the database is away, in contrast to a statement that it refused. */
export const isDatabaseUnavailable = (error: unknown): boolean =>
  error instanceof AggregateError ? error.errors.some(isConnectionError) : isConnectionError(error)

/** Asks the database for anything at all; throws what the driver throws when it is away. */
export const isDatabaseReady = async (db: Database): Promise<boolean> =>
  (await sql`select 1`.execute(db)).rows.length === 1
