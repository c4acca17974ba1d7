import type { Kysely } from 'kysely'
import type { fromPglite } from 'pg-boss'
import type { FollowingClock } from '../clock/following-clock.ts'
import type { Availability } from './availability.ts'
import type { Lineage } from './lineage.ts'
import type { ServerFacts } from './server.ts'
import type { Tables } from './tables.ts'

export { isDatabaseUnavailable } from './availability.ts'

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
  /** Runs the few statements of lookups and refreshes: building and planning each anew would cost more than running it. */
  runPrepared: RunPrepared
  /**
   * A connection without time limits, for migrations: changing a large table or waiting for another process takes
   * long.
   */
  patientDb: Database
  /** Gives the connections of `db` to pg-boss, which brings its own SQL. */
  jobStore: JobStore
  /** Shows the time of the database; each new connection sets it, and each `readFacts`. */
  clock: FollowingClock
  availability: Availability
  lineage: Lineage
  readFacts(): Promise<ServerFacts>
  close(): Promise<void>
}

export type DatabaseOptions = {
  /** One or several servers; undefined = PGlite in `dataDir`. */
  databaseUrl: string | undefined
  /** A pooler that gives each transaction another session: nothing may outlive a transaction. */
  databasePooler?: 'transaction' | undefined
  dataDir: string
  poolSize: number
  /** Called when an idle connection breaks. The pool replaces the connection by itself. */
  onIdleError?: (error: Error) => void
  /** How long a connection may wait for an answer before the connection is closed; default 15 s. */
  silenceLimitMs?: number
}
