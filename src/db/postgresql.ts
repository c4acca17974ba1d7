import { Socket } from 'node:net'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import type { DatabaseOptions, JobStore, OpenDatabase } from './database.ts'
import { createPipelines } from './pipelines.ts'
import type { Tables } from './tables.ts'

/** Connections of the pool that only lookups use: lists and pages never make a lookup wait. */
const MOST_PREPARED = 4
const CONNECT_TIMEOUT_MS = 5_000
/** A statement that runs this long is a fault: the longest of ours takes milliseconds. */
const STATEMENT_TIMEOUT_MS = 10_000
/**
 * Our statements hold a row for milliseconds. One that waits longer keeps a connection from others: it fails, and the
 * caller tries again.
 */
const LOCK_TIMEOUT_MS = 3_000
/**
 * The process of a transaction that does nothing for this long is gone. PostgreSQL ends the transaction and frees its
 * rows.
 */
const IDLE_TRANSACTION_TIMEOUT_MS = 10_000
/** For a network that swallows the answer: the server's own limit does not see that. */
const SILENCE_LIMIT_MS = 15_000
/** Shorter than the silence limit: a connection that is closed for silence was waiting for an answer. */
const IDLE_TIMEOUT_MS = 10_000

/**
 * A socket that closes when it hears nothing for this long. `query_timeout` of pg is not used: its timers keep the rows
 * of every statement alive until the next full collection of garbage, and it puts a connection whose answer did not
 * come back into the pool.
 */
const createImpatientSocket = (silenceLimitMs: number): Socket => {
  const socket = new Socket()
  return socket.setTimeout(silenceLimitMs, () =>
    socket.destroy(Object.assign(new Error('The database does not answer'), { code: 'ETIMEDOUT' })),
  )
}

/** Three pools: for lists, pages and changes; for the prepared statements of lookups; for migrations. */
export const openPostgresql = ({
  databaseUrl,
  poolSize,
  onIdleError,
  silenceLimitMs = SILENCE_LIMIT_MS,
}: DatabaseOptions & { databaseUrl: string }): OpenDatabase => {
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
    // The pool listens to idle connections only. When a connection breaks between two statements of a transaction, the
    // next statement fails; without this listener the process would end before that.
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
  // Each statement is planned once a connection: planning for each call costs as much as running it.
  const preparedPool = openPool(prepared, {
    ...limits,
    pipeline: true,
    options: '-c plan_cache_mode=force_generic_plan',
  })
  // Migrations may wait long. A network that is gone without a word still ends them.
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
