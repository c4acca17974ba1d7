import { mkdirSync } from 'node:fs'
import { Socket } from 'node:net'
import { join } from 'node:path'
import type { PGlite } from '@electric-sql/pglite'
import { Kysely, PGliteDialect, PostgresDialect, sql } from 'kysely'
import pg from 'pg'
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

/** Of the pool, connections kept for the statements of the hot path: lists and pages never make lookups wait. */
const MOST_PREPARED = 4
const CONNECT_TIMEOUT_MS = 5_000
/** Statements in flight on one connection. */
const PIPELINE_DEPTH = 2
/** Behind a statement that has taken this long no other is sent. */
const SLOW_MS = 5
/** A statement that runs this long is a fault: the longest of ours takes milliseconds. */
const STATEMENT_TIMEOUT_MS = 10_000
/** Ours hold a row for milliseconds: who waits longer takes a connection from others, and had better come again. */
const LOCK_TIMEOUT_MS = 3_000
/** A fault is also a transaction that does nothing for this long: its process is gone, and its row locks are to go too. */
const IDLE_TRANSACTION_TIMEOUT_MS = 10_000
/** A network that swallows the answer, which the server's limit does not see. */
const SILENCE_LIMIT_MS = 15_000
/** Shorter than the silence limit: who is closed for silence was waiting. */
const IDLE_TIMEOUT_MS = 10_000

/**
 * A socket that is given up when it hears nothing for this long. Not `query_timeout` of pg: its timers keep the rows
 * of every statement alive until the next full collection of garbage, and a connection whose answer did not come
 * would go back to the pool.
 */
const createImpatientSocket = (silenceLimitMs: number): Socket => {
  const socket = new Socket()
  return socket.setTimeout(silenceLimitMs, () =>
    socket.destroy(Object.assign(new Error('The database does not answer'), { code: 'ETIMEDOUT' })),
  )
}

/**
 * Sends a statement behind one that PostgreSQL is at work on, so that it finds the next without waiting for us. Not
 * behind one that takes long, such as on a slow disk: then another connection is better.
 */
const createPipelines = (pool: pg.Pool): RunPrepared => {
  type Pipeline = {
    client: Promise<pg.PoolClient>
    inFlight: number
    startedAt: number
    /** Of any statement on it: the connection may be broken, or have a plan that no longer fits. */
    failure?: Error
  }
  let last: Pipeline | undefined

  const isJoinable = ({ inFlight, startedAt, failure }: Pipeline): boolean =>
    failure === undefined &&
    inFlight > 0 &&
    inFlight < PIPELINE_DEPTH &&
    performance.now() - startedAt < SLOW_MS

  const join = (): Pipeline => {
    if (!last || !isJoinable(last))
      last = { client: pool.connect(), inFlight: 0, startedAt: performance.now() }
    last.inFlight += 1
    return last
  }

  return async <Row>({ name, text }: PreparedStatement, values: unknown[]) => {
    const pipeline = join()
    try {
      const client = await pipeline.client
      // With a callback: the promises of pg keep every row alive until the next full collection of garbage.
      return await new Promise<Row[]>((resolve, reject) => {
        client.query({ name, text, values }, (error: Error | undefined, result: pg.QueryResult) => {
          if (error) reject(error)
          else resolve(result.rows)
        })
      })
    } catch (error) {
      pipeline.failure = error as Error
      throw error
    } finally {
      pipeline.inFlight -= 1
      pipeline.startedAt = performance.now()
      if (pipeline.inFlight === 0)
        pipeline.client.then(
          (client) => client.release(pipeline.failure),
          () => undefined,
        )
    }
  }
}

export const openDatabase = ({
  databaseUrl,
  dataDir,
  poolSize,
  onIdleError,
  silenceLimitMs = SILENCE_LIMIT_MS,
}: DatabaseOptions): OpenDatabase => {
  if (databaseUrl === undefined) {
    const folder = join(dataDir, 'pglite')
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    // Loaded only here: whoever has a PostgreSQL does not pay for a second one.
    let opened: Promise<PGlite> | undefined
    const open = () => {
      opened ??= import('@electric-sql/pglite').then(({ PGlite }) => PGlite.create(folder))
      return opened
    }
    const db = new Kysely<Tables>({ dialect: new PGliteDialect({ pglite: open }) })
    const runPrepared: RunPrepared = async <Row>({ text }: PreparedStatement, values: unknown[]) =>
      (await (await open()).query<Row>(text, values)).rows
    let store: JobStore | undefined
    const jobStore: JobStore = {
      async executeSql(text, values) {
        store ??= (await import('pg-boss')).fromPglite(await open())
        return store.executeSql(text, values)
      },
    }
    return { db, patientDb: db, kind: 'embedded', runPrepared, jobStore, close: () => db.destroy() }
  }
  const openPool = (max: number, options: pg.PoolConfig): pg.Pool => {
    const pool = new pg.Pool({
      connectionString: databaseUrl,
      max,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      idleTimeoutMillis: IDLE_TIMEOUT_MS,
      application_name: 'gitlab-token-broker',
      ...options,
    })
    pool.on('error', (error) => onIdleError?.(error))
    // The pool listens to idle connections only. One that breaks between two statements of a transaction tells its
    // user with the next statement; without a listener it would end the process.
    pool.on('connect', (client) => client.on('error', () => undefined))
    return pool
  }
  const limits: pg.PoolConfig = {
    statement_timeout: STATEMENT_TIMEOUT_MS,
    lock_timeout: LOCK_TIMEOUT_MS,
    idle_in_transaction_session_timeout: IDLE_TRANSACTION_TIMEOUT_MS,
    stream: () => createImpatientSocket(silenceLimitMs),
  }
  const prepared = Math.min(MOST_PREPARED, Math.max(1, Math.floor(poolSize / 2)))
  const pool = openPool(Math.max(1, poolSize - prepared), limits)
  // Planned once a connection: planning anew for each call, as PostgreSQL would, costs as much as running them.
  const preparedPool = openPool(prepared, {
    ...limits,
    pipeline: true,
    options: '-c plan_cache_mode=force_generic_plan',
  })
  // Waiting long is its purpose; a network that is gone without a word ends it all the same.
  const patientPool = openPool(1, { keepAlive: true, keepAliveInitialDelayMillis: SILENCE_LIMIT_MS })
  const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) })
  const patientDb = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: patientPool }) })
  const jobStore: JobStore = { executeSql: (text, values) => pool.query(text, values) }
  const runPrepared = createPipelines(preparedPool)
  let closed: Promise<unknown> | undefined
  const close = async () => {
    closed ??= Promise.all([db.destroy(), patientDb.destroy(), preparedPool.end()])
    await closed
  }
  return { db, patientDb, kind: 'postgresql', runPrepared, jobStore, close }
}

/** Whether an error means that the database is away, in contrast to a statement that it refused. */
export const isDatabaseUnavailable = (error: unknown): boolean =>
  error instanceof AggregateError ? error.errors.some(isConnectionError) : isConnectionError(error)

/** Asks the database for anything at all; throws what the driver throws when it is away. */
export const isDatabaseReady = async (db: Database): Promise<boolean> =>
  (await sql`select 1`.execute(db)).rows.length === 1
