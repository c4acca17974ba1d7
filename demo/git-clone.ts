import { spawn } from 'node:child_process'
import { once } from 'node:events'

/** Answers Git from the environment of the process, where no list of processes and no log shows it. */
const HELPER = '!f() { echo "username=$GIT_USERNAME"; echo "password=$GIT_PASSWORD"; }; f'

/**
 * What a scanner sets for its git: the token is in no URL, no argument and no file.
 *
 * - The empty helper comes first. It switches off those of the machine, which would store what they are shown.
 * - The other helper answers for this GitLab alone. A submodule on another host gets nothing.
 */
export const gitEnvironment = (
  baseUrl: string,
  { username, password }: { username: string; password: string },
) => ({
  GIT_CONFIG_COUNT: '2',
  GIT_CONFIG_KEY_0: 'credential.helper',
  GIT_CONFIG_VALUE_0: '',
  GIT_CONFIG_KEY_1: `credential.${baseUrl}.helper`,
  GIT_CONFIG_VALUE_1: HELPER,
  GIT_TERMINAL_PROMPT: '0',
  GIT_USERNAME: username,
  GIT_PASSWORD: password,
})

export type GitRun = { status: number | null; stdout: string; stderr: string }

export const runGit = async (args: string[], environment: Record<string, string> = {}): Promise<GitRun> => {
  const child = spawn('git', args, {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const [status] = await once(child, 'close')
  return { status, stdout, stderr }
}
