import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Ending, Journal } from './journal.ts'

const ROOT = join(import.meta.dirname, '../..')
/** As an orchestrator does with a process that ended by itself. */
const RESTART_PAUSE_MS = 400
/** Longer than a late answer of GitLab is waited for: docs/recovery.md. */
const GRACE_MS = 170_000
const SHIFTED_CLOCK = new URL('../support/shifted-clock.ts', import.meta.url).href

export type BrokerOptions = {
  name: string
  port: number
  dataDir: string
  databaseUrl: string
  adminKey: string
  masterKey: string
  /** By how much the clock of its machine is wrong. */
  clockShiftMs: number
  journal: Journal
}

/** One replica: a real process that is killed, restarted and, when it ends by itself, started again. */
export type BrokerProcess = {
  url: string
  /** Which process of this replica it is, as in the journal; undefined while it takes no requests. */
  incarnation(): string | undefined
  start(): void
  /** kill -9, then another process after a while. */
  kill(downMs: number): Promise<void>
  /** The clock of its machine is set back an hour. */
  setClockBack(): void
  /** SIGTERM: it may finish what it is at. */
  restart(downMs: number): Promise<void>
  stop(): Promise<void>
}

const endOf = (
  code: number | null,
  signal: NodeJS.Signals | null,
  { told, lastWords }: { told: boolean; lastWords: string },
): Ending['how'] => {
  if (signal === 'SIGKILL') return 'killed'
  // A process that is told to end while it still starts has nothing to finish: the signal ends it.
  if (told && (code === 0 || signal === 'SIGTERM')) return 'stopped'
  // While the database is away a broker does not come up; it says so, and is started again.
  return lastWords.startsWith('Could not start') ? 'could not start' : 'by itself'
}

export const createBrokerProcess = (options: BrokerOptions): BrokerProcess => {
  const { name, port, dataDir, databaseUrl, adminKey, masterKey, clockShiftMs, journal } = options
  let child: ChildProcess | undefined
  let count = 0
  let listening: string | undefined
  let ending = false
  let stopped = false

  // Nothing of the test runner's environment: a broker that is killed reports to nobody.
  const env = {
    PATH: process.env.PATH,
    PORT: String(port),
    HOST: '127.0.0.1',
    DATA_DIR: dataDir,
    DATABASE_URL: databaseUrl,
    MASTER_KEY: masterKey,
    BOOTSTRAP_ADMIN_KEY: adminKey,
    LOG_LEVEL: 'debug',
    CLOCK_SHIFT_MS: String(clockShiftMs),
  }

  const start = (): void => {
    count += 1
    const incarnation = `${name}.${count}`
    ending = false
    const started = spawn(process.execPath, ['--import', SHIFTED_CLOCK, 'src/main.ts'], {
      cwd: ROOT,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    child = started
    let lastWords = ''
    createInterface({ input: started.stdout! }).on('line', (line) => {
      journal.logged(incarnation, line, clockShiftMs)
      if (line.includes('"msg":"listening"') && child === started && !ending) listening = incarnation
    })
    started.stderr!.setEncoding('utf8').on('data', (text: string) => {
      lastWords = (lastWords + text).slice(-4_000)
    })
    started.once('close', (code, signal) => {
      if (child === started) {
        listening = undefined
        child = undefined
      }
      journal.ended(incarnation, {
        how: endOf(code, signal, { told: ending, lastWords }),
        lastWords: lastWords.trim(),
      })
      if (!ending && !stopped) setTimeout(() => stopped || child || start(), RESTART_PAUSE_MS)
    })
  }

  const end = async (signal: 'SIGKILL' | 'SIGTERM', downMs: number): Promise<void> => {
    const running = child
    if (!running) return
    ending = true
    listening = undefined
    const closed = once(running, 'close')
    running.kill(signal)
    const stuck = setTimeout(() => running.kill('SIGKILL'), GRACE_MS)
    await closed
    clearTimeout(stuck)
    await sleep(downMs)
    if (!stopped && !child) start()
  }

  // Whatever ends this process, no replica outlives it.
  process.once('exit', () => child?.kill('SIGKILL'))

  return {
    url: `http://127.0.0.1:${port}`,
    incarnation: () => listening,
    start,
    // Before it listens it may have no handler for the signal, which would end it.
    setClockBack: () => void (listening !== undefined && child?.kill('SIGUSR2')),
    kill: (downMs) => end('SIGKILL', downMs),
    restart: (downMs) => end('SIGTERM', downMs),
    async stop() {
      stopped = true
      await end('SIGTERM', 0)
    },
  }
}
