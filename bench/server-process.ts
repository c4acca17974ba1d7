import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, ftruncateSync, openSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../test/support/postgres.ts'

export type ServerProcess = {
  origin: string
  pid: number
  /** The most resident memory until now in MB, as the kernel counts it; NaN where it does not tell. */
  peakMb(): Promise<number>
  /** From the start of the process until it said that it is ready. */
  readyMs: number
  /** Forgets what was logged: a run writes more than a disk should have to keep. */
  truncateLog(): void
  stop(): Promise<void>
}

/** Environment and options with which the container runs the broker. */
const ENVIRONMENT = { MALLOC_ARENA_MAX: process.env.MALLOC_ARENA_MAX ?? '1' }
const NODE_OPTIONS = [
  '--no-allocation-site-pretenuring',
  '--max-semi-space-size=16',
  '--max-old-space-size=192',
]
const READY_LIMIT_MS = 60_000

/** Starts one of the servers under measurement as a process of its own, in a folder of its own, its log in a file. */
export const startServer = async (
  script: string,
  env: Record<string, string>,
  readyPath: string,
): Promise<ServerProcess> => {
  const port = await freePort()
  const folder = await mkdtemp(join(tmpdir(), 'gtb-bench-'))
  const log = openSync(join(folder, 'log'), 'a', 0o600)
  const started = performance.now()
  const child: ChildProcess = spawn(process.execPath, [...NODE_OPTIONS, script], {
    env: {
      ...ENVIRONMENT,
      PATH: process.env.PATH,
      PORT: String(port),
      HOST: '127.0.0.1',
      DATA_DIR: folder,
      ...env,
    },
    stdio: ['ignore', log, 'inherit'],
  })
  const exited = new Promise((resolve) => child.once('exit', resolve))
  const stop = async () => {
    child.kill('SIGTERM')
    await exited
    closeSync(log)
    await rm(folder, { recursive: true, force: true })
  }
  const origin = `http://127.0.0.1:${port}`
  for (;;) {
    const ready = await fetch(origin + readyPath).then(
      (response) => response.ok,
      () => false,
    )
    if (ready) break
    if (child.exitCode !== null || performance.now() - started > READY_LIMIT_MS) {
      await stop()
      throw new Error(`${script} did not start`)
    }
    await sleep(20)
  }
  return {
    origin,
    pid: child.pid!,
    readyMs: performance.now() - started,
    async peakMb() {
      const status = await readFile(`/proc/${child.pid}/status`, 'utf8').catch(() => '')
      const [, kilobytes = Number.NaN] = /VmHWM:\s+(\d+)/.exec(status) ?? []
      return Number(kilobytes) / 1024
    },
    truncateLog: () => ftruncateSync(log),
    stop,
  }
}

/** The broker as it is by default, its log on. */
export const startBroker = (env: Record<string, string>): Promise<ServerProcess> =>
  startServer(process.env.BENCH_BROKER ?? 'src/main.ts', env, '/readyz')
