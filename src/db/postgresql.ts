import { Socket } from 'node:net'
import { Kysely, PostgresDialect } from 'kysely'
import type pg from 'pg'
import { createFollowingClock } from '../clock/following-clock.ts'
import { createAvailability } from './availability.ts'
import type { DatabaseOptions, OpenDatabase } from './database.ts'
import { createHosts } from './hosts.ts'
import { createLineage } from './lineage.ts'
import { MigrationDialect } from './migration-dialect.ts'
import { createPipelines } from './pipelines.ts'
import { createPool, type Pool } from './pool.ts'
import { readFacts } from './server.ts'
import type { Tables } from './tables.ts'

/** Connections of the pool that lookups and refreshes alone use: lists and pages never make a lookup wait. */
const MOST_PREPARED = 4
const CONNECT_TIMEOUT_MS = 5_000
/** A statement that runs this long is a fault: the longest of ours takes milliseconds. */
const STATEMENT_TIMEOUT_MS = 10_000
/**
 * Our statements hold a row for milliseconds. One that waits longer keeps a connection from others: it fails, and the
 * caller tries again.
 */
const LOCK_TIMEOUT_MS = 3_000
/** The same as a server writes it: PostgreSQL, CockroachDB. */
const LOCK_TIMEOUT = ['3s', '3000']
/** A fault is also a transaction that does nothing for this long: its process is gone, and its row locks are to go too. */
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

type PoolConfigs = { usual: pg.PoolConfig; prepared: pg.PoolConfig; lockTimeout: string[] }

/** A pooler in transaction mode takes no settings for a session: there is none. */
const configsFor = (pooler: DatabaseOptions['databasePooler'], silenceLimitMs: number): PoolConfigs => {
  const stream = () => createImpatientSocket(silenceLimitMs)
  if (pooler === 'transaction') return { usual: { stream }, prepared: { stream }, lockTimeout: [] }
  const limits: pg.PoolConfig = {
    statement_timeout: STATEMENT_TIMEOUT_MS,
    lock_timeout: LOCK_TIMEOUT_MS,
    idle_in_transaction_session_timeout: IDLE_TRANSACTION_TIMEOUT_MS,
    stream,
  }
  // Planned once a connection: planning anew for each call, as PostgreSQL would, costs as much as running them.
  const prepared = { ...limits, pipeline: true, options: '-c plan_cache_mode=force_generic_plan' }
  return { usual: limits, prepared, lockTimeout: LOCK_TIMEOUT }
}

/** Three pools: for lists, pages and changes; for the prepared statements of lookups and refreshes; for migrations. */
export const openPostgresql = ({
  databaseUrls,
  databasePooler,
  poolSize,
  onIdleError,
  silenceLimitMs = SILENCE_LIMIT_MS,
}: DatabaseOptions & { databaseUrls: string[] }): OpenDatabase => {
  const clock = createFollowingClock()
  const availability = createAvailability()
  const hosts = createHosts(databaseUrls)
  const lineage = createLineage()
  const openPool = (max: number, config: pg.PoolConfig, lockTimeout: string[] = []): Pool =>
    createPool(
      { hosts, clock, availability, lineage, onIdleError },
      {
        max,
        connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
        idleTimeoutMillis: IDLE_TIMEOUT_MS,
        application_name: 'gitlab-token-broker',
        ...config,
      },
      lockTimeout,
    )
  const { usual, prepared, lockTimeout } = configsFor(databasePooler, silenceLimitMs)
  const preparedSize = Math.min(MOST_PREPARED, Math.max(1, Math.floor(poolSize / 2)))
  const pool = openPool(Math.max(1, poolSize - preparedSize), usual, lockTimeout)
  const preparedPool = openPool(preparedSize, prepared, lockTimeout)
  // Waiting long is its purpose; a network that is gone without a word ends it all the same.
  const patientPool = openPool(1, { keepAlive: true, keepAliveInitialDelayMillis: SILENCE_LIMIT_MS })
  const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) })
  const patientDb = new Kysely<Tables>({ dialect: new MigrationDialect({ pool: patientPool }) })
  const runPrepared = createPipelines(preparedPool, {
    availability,
    keepsSessions: databasePooler === undefined,
  })
  let closed: Promise<unknown> | undefined
  const close = async () => {
    // What the patient connection waits for may come in hours: a migration that is broken off changes nothing.
    closed ??= Promise.all([pool.end(), preparedPool.end(), patientPool.end(true)])
    await closed
  }
  return {
    db,
    patientDb,
    kind: 'postgresql',
    runPrepared,
    jobStore: { executeSql: (text, values) => pool.query(text, values) },
    clock,
    availability,
    lineage,
    readFacts: () => readFacts(pool, clock),
    close,
  }
}
