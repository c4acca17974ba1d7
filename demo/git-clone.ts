import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

const HELPER = join(import.meta.dirname, '../src/client/git-credential-gitlab-token-broker.mjs')

/**
 * What a scanner sets for its git, which then asks the broker by itself: no token is in a URL, an argument or a file.
 *
 * - The empty helper comes first. It switches off those of the machine, which would store what they are shown.
 * - The other helper answers for this GitLab alone. A submodule on another host gets nothing.
 */
export const gitEnvironment = (baseUrl: string, { brokerUrl, key }: { brokerUrl: string; key: string }) => ({
  GIT_CONFIG_COUNT: '3',
  GIT_CONFIG_KEY_0: 'credential.helper',
  GIT_CONFIG_VALUE_0: '',
  GIT_CONFIG_KEY_1: `credential.${baseUrl}.useHttpPath`,
  GIT_CONFIG_VALUE_1: 'true',
  GIT_CONFIG_KEY_2: `credential.${baseUrl}.helper`,
  GIT_CONFIG_VALUE_2: `!'${process.execPath}' '${HELPER}'`,
  GIT_TERMINAL_PROMPT: '0',
  GITLAB_TOKEN_BROKER_URL: brokerUrl,
  GITLAB_TOKEN_BROKER_KEY: key,
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
