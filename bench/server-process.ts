import { type ChildProcess, spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../test/support/postgres.ts'

export type ServerProcess = {
  origin: string
  /** Resident memory in MB, as the kernel counts it; NaN where it cannot be read. */
  rssMb(): Promise<number>
  /** From the start of the process until it said that it is ready. */
  readyMs: number
  stop(): Promise<void>
}

/** As `npm start` and the container run the broker. */
const NODE_OPTIONS = ['--max-semi-space-size=16', '--max-old-space-size=192']
const READY_LIMIT_MS = 60_000

/** Starts one of the servers under measurement as a process of its own. */
export const startServer = async (
  script: string,
  env: Record<string, string>,
  readyPath: string,
): Promise<ServerProcess> => {
  const port = await freePort()
  const started = performance.now()
  const child: ChildProcess = spawn(process.execPath, [...NODE_OPTIONS, script], {
    env: { PATH: process.env.PATH, PORT: String(port), HOST: '127.0.0.1', ...env },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const origin = `http://127.0.0.1:${port}`
  for (;;) {
    const ready = await fetch(origin + readyPath).then(
      (response) => response.ok,
      () => false,
    )
    if (ready) break
    if (child.exitCode !== null || performance.now() - started > READY_LIMIT_MS)
      throw new Error(`${script} did not start`)
    await sleep(20)
  }
  return {
    origin,
    readyMs: performance.now() - started,
    async rssMb() {
      const { readFile } = await import('node:fs/promises')
      const status = await readFile(`/proc/${child.pid}/status`, 'utf8').catch(() => '')
      const [, kilobytes = Number.NaN] = /VmRSS:\s+(\d+)/.exec(status) ?? []
      return Number(kilobytes) / 1024
    },
    async stop() {
      const exited = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGTERM')
      await exited
    },
  }
}
