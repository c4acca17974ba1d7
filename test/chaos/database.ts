import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { type Cluster, type Standby, startCluster } from '../support/postgres.ts'

/** Commits of this time are in no database any more: neither leases nor tokens of then are. */
export type Gap = { from: number; to: number }

/**
 * A primary, a standby that has confirmed every commit of it, and one that follows that standby and confirms nothing.
 * Each takes over once.
 */
export type ChaosDatabase = {
  /** All servers, for the brokers. */
  url: string
  /** The server that writes now. */
  writable(): string
  hasFailedOver(): boolean
  /** Takes the primary down for a while; nothing once it is lost. */
  interrupt(how: 'shut down' | 'crash', whileDown: () => Promise<unknown>): Promise<void>
  /** The primary dies for good, and a moment later the synchronous standby takes over. */
  failOver(pauseMs: number): Promise<void>
  /** The second server dies for good, and what it had not shipped for a while is gone. */
  failOverWithLoss(behindMs: number, pauseMs: number): Promise<void>
  /** What the database holds now, for `restore`. */
  backUp(): Promise<void>
  /** Puts the backup in the place of what there is, as one change. @param disconnect whether connections are cut before. */
  restore(disconnect: boolean): Promise<void>
  gaps: Gap[]
  stop(): Promise<void>
}

const withClient = async <Result>(
  url: string,
  work: (client: pg.Client) => Promise<Result>,
): Promise<Result> => {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

const ask = (url: string, statement: string): Promise<Record<string, unknown>[]> =>
  withClient(url, async (client) => (await client.query(statement)).rows)

const FOLLOWING_LIMIT_MS = 60_000

const untilFollowed = async (url: string, states: string): Promise<void> => {
  const limit = performance.now() + FOLLOWING_LIMIT_MS
  while ((await ask(url, `select from pg_stat_replication where ${states}`)).length === 0) {
    if (performance.now() > limit) throw new Error('the standby does not follow')
    await sleep(50)
  }
}

/** Commits wait for the standby from here on: what was confirmed is on both servers. */
const makeSynchronous = async (primary: string): Promise<void> => {
  await ask(primary, "alter system set synchronous_standby_names = '*'")
  await ask(primary, 'select pg_reload_conf()')
  await untilFollowed(primary, "sync_state = 'sync'")
}

/** In a schema beside the tables: it outlives a crash and a failover as they do. */
const BACKUP = 'backup'
const MOST_RESTORES = 20
const PAUSE_AFTER_DEADLOCK_MS = 100

const tablesOf = async (client: pg.Client): Promise<string[]> => {
  const { rows } = await client.query(
    "select tablename from pg_tables where schemaname = 'public' order by 1",
  )
  return rows.map(({ tablename }) => tablename as string)
}

const backUp = (url: string): Promise<void> =>
  withClient(url, async (client) => {
    await client.query('begin isolation level repeatable read')
    await client.query(`create schema ${BACKUP}`)
    for (const table of await tablesOf(client))
      await client.query(`create table ${BACKUP}.${table} as table public.${table}`)
    await client.query('commit')
  })

const restoreOnce = (url: string, disconnect: boolean): Promise<void> =>
  withClient(url, async (client) => {
    const tables = await tablesOf(client)
    await client.query('begin')
    if (disconnect)
      await client.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()",
      )
    // No foreign key and no trigger looks: all tables are of one moment.
    await client.query('set local session_replication_role = replica')
    await client.query(`truncate ${tables.map((table) => `public.${table}`).join(', ')}`)
    for (const table of tables)
      await client.query(`insert into public.${table} overriding system value table ${BACKUP}.${table}`)
    await client.query('commit')
  })

export const startChaosDatabase = async (): Promise<ChaosDatabase> => {
  const first: Cluster = await startCluster({ durable: true })
  const standbys: Standby[] = []
  const stop = async () => {
    for (const standby of standbys.toReversed()) await standby.stop()
    await first.stop()
  }
  try {
    standbys.push(await first.startStandby())
    standbys.push(await standbys[0]!.startStandby())
    await makeSynchronous(first.url)
    await untilFollowed(standbys[0]!.url, "state = 'streaming'")
  } catch (error) {
    await stop()
    throw error
  }
  const [second, third] = standbys as [Standby, Standby]
  const servers = [first.url, second.url, third.url]
  const hosts = servers.map((url) => new URL(url).host)
  let at = 0
  let backedUpAt = 0
  const gaps: Gap[] = []
  const writable = () => servers[at]!
  return {
    url: `${first.url.replace(/@[^/]+\//, `@${hosts.join(',')}/`)}?target_session_attrs=read-write`,
    writable,
    hasFailedOver: () => at > 0,
    gaps,
    async interrupt(how, whileDown) {
      if (at > 0) return
      await first.halt(how)
      await whileDown()
      await first.resume()
    },
    async failOver(pauseMs) {
      await first.halt('crash')
      at = 1
      await sleep(pauseMs)
      await second.promote()
    },
    async failOverWithLoss(behindMs, pauseMs) {
      const from = Date.now()
      await third.stopFollowing()
      await sleep(behindMs)
      await second.halt('crash')
      at = 2
      gaps.push({ from, to: Date.now() })
      await sleep(pauseMs)
      await third.promote()
    },
    async backUp() {
      backedUpAt = Date.now()
      await backUp(writable())
    },
    async restore(disconnect) {
      for (let tried = 1; ; tried += 1) {
        try {
          await restoreOnce(writable(), disconnect)
          break
        } catch (error) {
          // It wants all tables at once, which brokers have in another order.
          if (tried === MOST_RESTORES || (error as { code?: string }).code !== '40P01') throw error
          await sleep(PAUSE_AFTER_DEADLOCK_MS)
        }
      }
      gaps.push({ from: backedUpAt, to: Date.now() })
    },
    stop,
  }
}
