import pg from 'pg'
import type { FollowingClock } from '../clock/following-clock.ts'
import { type Availability, isDatabaseUnavailable, markNotOpened, markOnTheWay } from './availability.ts'
import { type Hosts, nameOf } from './hosts.ts'
import type { Lineage } from './lineage.ts'
import { inspectServer, isRefusedSetting, PoolerError, ReadOnlyServerError } from './server.ts'

/** What a pool of `pg` says when all its connections are taken: no fault of a server. */
const ALL_TAKEN = 'timeout exceeded when trying to connect'

/** Connections to the first of some servers that writes. */
export type Pool = {
  /** Of the underlying pool; Kysely asks for them. */
  options: object
  connect(): Promise<pg.PoolClient>
  query(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>
  /** @param now true: what runs is broken off. */
  end(now?: boolean): Promise<void>
}

export type PoolDeps = {
  hosts: Hosts
  clock: FollowingClock
  availability: Availability
  lineage: Pick<Lineage, 'found'>
  /** An idle connection broke; the pool replaces it by itself. */
  onIdleError?: ((error: Error) => void) | undefined
}

/** What is known of the clients of one pool. */
type Clients = {
  open: Set<pg.Client>
  /** Connections on which the server said that it cannot serve: the next may have another, which can. */
  spoiled: WeakSet<pg.Client>
}

const createClientClass = (
  { hosts, availability }: Pick<PoolDeps, 'hosts' | 'availability'>,
  { open, spoiled }: Clients,
) => {
  /** `pg` takes a class, and makes one client of it for each connection: here to the server in use. */
  class Client extends pg.Client {
    readonly url: string
    constructor(options: pg.ClientConfig) {
      const url = hosts.current()
      super({ ...options, connectionString: url })
      this.url = url
      open.add(this)
      this.once('end', () => open.delete(this))
      // The pool listens to idle connections only. One that breaks between two statements of a transaction tells its
      // user with the next statement; without a listener it would end the process.
      this.on('error', () => undefined)
    }

    // biome-ignore lint/suspicious/noExplicitAny: pg has ten signatures for it
    override query(...args: any[]): any {
      // biome-ignore lint/suspicious/noExplicitAny: as above
      const result = (super.query as any)(...args)
      if (!(result instanceof Promise)) return result
      return result.then(
        (answer) => {
          availability.worked()
          return answer
        },
        (error) => {
          if (isDatabaseUnavailable(markOnTheWay(error))) spoiled.add(this)
          availability.failed(error)
          throw error
        },
      )
    }
  }

  return Client
}

export const createPool = (
  { hosts, clock, availability, lineage, onIdleError }: PoolDeps,
  config: pg.PoolConfig,
  lockTimeout: string[],
): Pool => {
  const spoiled = new WeakSet<pg.Client>()
  const open = new Set<pg.Client>()
  const Client = createClientClass({ hosts, availability }, { open, spoiled })
  const pool = new pg.Pool({
    ...config,
    Client: Client as unknown as new () => pg.ClientBase,
    onConnect: (client) =>
      inspectServer(client, {
        server: nameOf((client as pg.Client & { url: string }).url),
        clock,
        lockTimeout,
        lineage,
      }),
  })
  pool.on('error', (error) => onIdleError?.(error))

  const checkOut = (client: pg.PoolClient): pg.PoolClient => {
    const { release } = client
    client.release = (destroy) => release.call(client, destroy || spoiled.has(client))
    return client
  }

  let ending = false
  const connectOnce = async (): Promise<pg.PoolClient> => {
    try {
      return checkOut(await pool.connect())
    } catch (error) {
      throw markNotOpened(isRefusedSetting(error) ? new PoolerError() : error)
    }
  }

  const connect = async (): Promise<pg.PoolClient> => {
    let failure: unknown
    for (let tried = 0; tried < hosts.count && !ending; tried += 1) {
      const url = hosts.current()
      try {
        return await connectOnce()
      } catch (error) {
        // A server that answers tells more than one that is gone.
        if (!(failure instanceof ReadOnlyServerError)) failure = error
        if (error instanceof Error && error.message === ALL_TAKEN) break
        hosts.moveOnFrom(url)
      }
    }
    if (!ending) availability.failed(failure)
    throw failure ?? markNotOpened(new Error('The connections to the database are closed'))
  }

  return {
    options: pool.options,
    connect,
    async query(text, values) {
      const client = await connect()
      try {
        return await (values === undefined ? client.query(text) : client.query(text, values))
      } finally {
        client.release()
      }
    },
    async end(now = false) {
      ending = true
      const ended = pool.end()
      if (now)
        for (const client of open)
          (client as unknown as { connection: pg.Connection }).connection.stream.destroy()
      await ended
    },
  }
}
