import { Socket } from 'node:net'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import type { DatabaseOptions, JobStore, OpenDatabase } from './database.ts'
import { createPipelines } from './pipelines.ts'
import type { Tables } from './tables.ts'

/** Of the pool, connections kept for the statements of the hot path: lists and pages never make lookups wait. */
const MOST_PREPARED = 4
const CONNECT_TIMEOUT_MS = 5_000
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
