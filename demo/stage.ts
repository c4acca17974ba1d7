import { randomBytes } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Simulator, startSimulator } from '../simulator/simulator.ts'
import { readConfig } from '../src/config/config.ts'
import { createLogger } from '../src/log.ts'
import { type Broker, startBroker } from '../src/start.ts'
import { TourError } from './expect.ts'
import { runGit } from './git-clone.ts'
import { createOwnDatabase } from './own-database.ts'

export const OAUTH_APP = { clientId: 'demo-client', clientSecret: 'gloas-FAKE-demo-client-secret' }

export type Stage = {
  simulator: Simulator
  broker: Broker
  brokerUrl: string
  adminKey: string
  databaseName: string
  /** Empty, for what the tour writes; gone at the end. */
  folder: string
  /** Moves the clock that the broker and the simulator share. */
  advance(seconds: number): void
  readLog(): Promise<string>
  close(): Promise<void>
}

type Environment = Record<string, string | undefined>

const onPort = async <Started>(
  port: number,
  name: string,
  start: () => Promise<Started>,
): Promise<Started> => {
  try {
    return await start()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    throw new TourError(
      `Port ${port} of 127.0.0.1 is taken. End what listens there, or choose another: ${name}=<port> npm run demo`,
    )
  }
}

/** A GitLab and a broker in this process, with one clock; on DATABASE_URL, or on a database in a temporary folder. */
export const setStage = async (env: Environment): Promise<Stage> => {
  const cleanups: (() => Promise<unknown>)[] = []
  const close = async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup().catch(() => undefined)
  }
  try {
    const git = await runGit(['--version']).catch(() => undefined)
    if (git?.status !== 0) throw new TourError('The demo clones a repository: it needs git on this machine.')

    const port = Number(env.PORT ?? 8080)
    const simulatorPort = Number(env.SIMULATOR_PORT ?? 8929)
    const brokerUrl = `http://127.0.0.1:${port}`
    let advancedMs = 0
    const clock = () => Date.now() + advancedMs

    const folder = await mkdtemp(join(tmpdir(), 'gtb-demo-'))
    cleanups.push(() => rm(folder, { recursive: true, force: true }))

    const app = { ...OAUTH_APP, redirectUris: [`${brokerUrl}/oauth/simulator/callback`] }
    const simulator = await onPort(simulatorPort, 'SIMULATOR_PORT', () =>
      startSimulator({ port: simulatorPort, now: clock, apps: [app] }),
    )
    cleanups.push(() => simulator.close())

    const database = env.DATABASE_URL ? await createOwnDatabase(env.DATABASE_URL) : undefined
    if (database) cleanups.push(database.drop)

    const adminKey = `FAKE-demo-admin-key-${randomBytes(16).toString('hex')}`
    const config = readConfig({
      PORT: String(port),
      HOST: '127.0.0.1',
      PUBLIC_URL: brokerUrl,
      DATA_DIR: join(folder, 'data'),
      DATABASE_URL: database?.url,
      MASTER_KEY: env.MASTER_KEY ?? randomBytes(32).toString('base64'),
      BOOTSTRAP_ADMIN_KEY: adminKey,
    })
    const logFile = join(folder, 'broker.log')
    const log = createWriteStream(logFile)
    const broker = await onPort(port, 'PORT', () =>
      startBroker(config, createLogger('info', { write: (line) => void log.write(line) }), clock),
    )
    cleanups.push(() => broker.close())

    return {
      simulator,
      broker,
      brokerUrl,
      adminKey,
      databaseName: database ? `PostgreSQL (database ${database.name})` : 'embedded, in a temporary folder',
      folder,
      advance(seconds) {
        advancedMs += seconds * 1000
      },
      async readLog() {
        await new Promise<void>((resolve) => void log.write('', () => resolve()))
        return readFile(logFile, 'utf8')
      },
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}
