import { spawnSync } from 'node:child_process'

const COMMAND_LIMIT_MS = 15_000
/** A list of keys is far shorter. */
const OUTPUT_LIMIT_BYTES = 4_096

export type KeyCommandResult = { output?: string; fault?: string }

/**
 * Asks a command for the master key, such as one that asks a KMS or a Vault agent. Its standard output is the key. What
 * it writes to standard error is shown nowhere: it may hold the key, too.
 * @param limitMs after which the command is ended.
 */
export const runKeyCommand = (
  command: string,
  env: NodeJS.ProcessEnv,
  limitMs = COMMAND_LIMIT_MS,
): KeyCommandResult => {
  const { status, signal, error, stdout } = spawnSync(command, {
    shell: true,
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
    encoding: 'utf8',
    timeout: limitMs,
    killSignal: 'SIGKILL',
    maxBuffer: OUTPUT_LIMIT_BYTES,
  })
  const code = (error as NodeJS.ErrnoException | undefined)?.code
  if (code === 'ETIMEDOUT') return { fault: `did not end within ${limitMs / 1000} seconds` }
  if (code === 'ENOBUFS')
    return { fault: `printed more than ${OUTPUT_LIMIT_BYTES} bytes: it prints the key alone` }
  if (error) return { fault: `could not be run (${code ?? 'error'})` }
  if (signal !== null) return { fault: `was ended by ${signal}` }
  if (status !== 0) return { fault: `failed with exit code ${status}` }
  const output = stdout.trim()
  return output === '' ? { fault: 'printed nothing' } : { output }
}
