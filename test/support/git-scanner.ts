import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

const ROOT = join(import.meta.dirname, '../..')
export const PROGRAM = join(ROOT, 'src/client/git-credential-gitlab-token-broker.mjs')
const readme = await readFile(join(ROOT, 'README.md'), 'utf8')
const [, snippet = ''] = /```sh\n(export BROKER=\S+ SCANNER_KEY=[\s\S]*?)```/.exec(readme) ?? []
/** Without its first line, which has the values, and its last, which clones. */
const settings = snippet.replace(/^export BROKER.*\n/, '').replace(/git clone .*\n/, '')

/** By which Git asks the broker: the one line with curl of the README, or the program of the package. */
export type Helper = 'curl' | 'program'

export type Scanner = {
  folder: string
  /** Runs commands of a shell in the folder of the scanner. */
  run(commands: string): Promise<{ status: number | null; output: string }>
  /** What every program that Git started had as arguments, and what curl had. */
  arguments(): Promise<string>
  /** Every file that is left, but those of the trace. */
  files(): Promise<string>
}

type Options = { broker: string; key: string; gitlab: string; helper: Helper; organization?: string }

const createFolder = async (t: Test): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'gtb-scanner-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** Notes its arguments, and is curl. */
const CURL_WITH_NOTES = `#!/bin/sh
echo "curl $*" >> "$NOTES/curl.txt"
PATH=\${PATH#*:} exec curl "$@"
`

const contentOf = async (folder: string): Promise<string> => {
  const names = await readdir(folder, { recursive: true })
  const texts = await Promise.all(
    names.map(async (name) => {
      const path = join(folder, name)
      return (await stat(path)).isFile() ? await readFile(path, 'latin1') : ''
    }),
  )
  return texts.join('\n')
}

/** A machine that scans: a folder of its own for its home, and the settings of the README and nothing else. */
export const createScanner = async (
  t: Test,
  { broker, key, gitlab, helper, organization = 'acme' }: Options,
): Promise<Scanner> => {
  const folder = await createFolder(t)
  const notes = await createFolder(t)
  await writeFile(join(notes, 'curl'), CURL_WITH_NOTES)
  await chmod(join(notes, 'curl'), 0o755)
  const env = {
    PATH: `${notes}:${process.env.PATH}`,
    HOME: folder,
    NOTES: notes,
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_TRACE: join(notes, 'git.txt'),
    BROKER: broker,
    SCANNER_KEY: key,
    GITLAB: gitlab,
    ORGANIZATION: organization,
    GITLAB_TOKEN_BROKER_URL: broker,
    GITLAB_TOKEN_BROKER_KEY: key,
    GITLAB_TOKEN_BROKER_ORGANIZATION: organization,
  }
  const program = `export GIT_CONFIG_VALUE_2="!'${process.execPath}' '${PROGRAM}'"\n`
  const before = settings + (helper === 'program' ? program : '')
  return {
    folder,
    async run(commands) {
      const child = spawn('sh', ['-c', `${before}\n${commands}`], { cwd: folder, env })
      let output = ''
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding('utf8').on('data', (chunk) => {
          output += chunk
        })
      const [status] = await once(child, 'close')
      return { status, output }
    },
    arguments: () => contentOf(notes),
    files: () => contentOf(folder),
  }
}

/** A host of somebody else's, which asks for a password and notes whatever it is given. */
export const startStranger = async (t: Test) => {
  const seen: (string | undefined)[] = []
  const server = createServer((request, response) => {
    seen.push(request.headers.authorization)
    response.writeHead(401, { 'www-authenticate': 'Basic realm="GitLab"' }).end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/acme/library.git`, seen }
}
