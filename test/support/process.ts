import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Test } from 'tap'

const ROOT = new URL('../../', import.meta.url).pathname

export type Ended = { code: number | null; output: string; errors: string }

export type MainProcess = {
  pid: number
  ended: Promise<Ended>
  output(): string
  /** Waits until the process has said this on standard output. @throws when the process ends before. */
  said(what: RegExp): Promise<string>
  /** Waits until it serves requests. */
  listening(): Promise<string>
  kill(signal: NodeJS.Signals): void
  /** SIGTERM, and waits for the end. */
  stop(): Promise<Ended>
}

/** `node <nodeArgs> src/main.ts` with nothing but this environment; another script of src for its commands. */
export const startMain = (
  t: Test,
  env: Record<string, string>,
  { nodeArgs = [], script = ['src/main.ts'] }: { nodeArgs?: string[]; script?: string[] } = {},
): MainProcess => {
  const child = spawn(process.execPath, [...nodeArgs, ...script], {
    cwd: ROOT,
    env: { PATH: process.env.PATH ?? '', ...env },
  })
  let output = ''
  let errors = ''
  child.stdout.on('data', (chunk) => {
    output += chunk
  })
  child.stderr.on('data', (chunk) => {
    errors += chunk
  })
  const ended = once(child, 'close').then(([code]) => ({ code, output, errors }))
  t.teardown(() => {
    if (child.exitCode === null) child.kill('SIGKILL')
    return ended
  })
  const said = async (what: RegExp): Promise<string> => {
    while (!what.test(output)) {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`it ended: ${errors}`)
      await Promise.race([once(child.stdout, 'data'), ended])
    }
    return output
  }
  return {
    pid: child.pid!,
    ended,
    output: () => output,
    said,
    listening: () => said(/"msg":"listening"/),
    kill: (signal) => void child.kill(signal),
    async stop() {
      child.kill('SIGTERM')
      return ended
    },
  }
}
