import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { type Cluster, type Standby, startCluster } from '../support/postgres.ts'

/** A primary that is lost once in a run, and a standby that has confirmed every commit. */
export type ChaosDatabase = {
  /** Both servers, for the brokers. */
  url: string
  /** The server that writes now. */
  writable(): string
  hasFailedOver(): boolean
  /** Takes the primary down for a while; nothing once it is lost. */
  interrupt(how: 'shut down' | 'crash', whileDown: () => Promise<unknown>): Promise<void>
  /** The primary dies for good, and a moment later the standby takes over. */
  failOver(pauseMs: number): Promise<void>
  stop(): Promise<void>
}

const ask = async (url: string, statement: string): Promise<Record<string, unknown>[]> => {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(statement)).rows
  } finally {
    await client.end()
  }
}

const FOLLOWING_LIMIT_MS = 60_000

/** Commits wait for the standby from here on: what was confirmed is on both servers. */
const makeSynchronous = async (primary: string): Promise<void> => {
  await ask(primary, "alter system set synchronous_standby_names = '*'")
  await ask(primary, 'select pg_reload_conf()')
  const limit = performance.now() + FOLLOWING_LIMIT_MS
  while ((await ask(primary, "select from pg_stat_replication where sync_state = 'sync'")).length === 0) {
    if (performance.now() > limit) throw new Error('the standby does not follow')
    await sleep(50)
  }
}

export const startChaosDatabase = async (): Promise<ChaosDatabase> => {
  const primary: Cluster = await startCluster({ durable: true })
  let standby: Standby | undefined
  let isLost = false
  const stop = async () => {
    await standby?.stop()
    await primary.stop()
  }
  try {
    standby = await primary.startStandby()
    await makeSynchronous(primary.url)
  } catch (error) {
    await stop()
    throw error
  }
  const { host } = new URL(standby.url)
  const follower = standby
  return {
    url: `${primary.url.replace(/(@[^/]+)\//, `$1,${host}/`)}?target_session_attrs=read-write`,
    writable: () => (isLost ? follower.url : primary.url),
    hasFailedOver: () => isLost,
    async interrupt(how, whileDown) {
      if (isLost) return
      await primary.halt(how)
      await whileDown()
      await primary.resume()
    },
    async failOver(pauseMs) {
      await primary.halt('crash')
      isLost = true
      await sleep(pauseMs)
      await follower.promote()
    },
    stop,
  }
}
