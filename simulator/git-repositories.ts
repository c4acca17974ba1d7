import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Project } from './people.ts'

const COMMITTED_AT = '1750000000 +0000'

/** The environment of every git here: nothing of the machine's own configuration, no prompt. */
export const GIT_ENVIRONMENT = {
  PATH: process.env.PATH ?? '',
  HOME: '/nonexistent',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_TERMINAL_PROMPT: '0',
}

const git = async (args: string[], input = ''): Promise<void> => {
  const child = spawn('git', args, { env: GIT_ENVIRONMENT, stdio: ['pipe', 'ignore', 'pipe'] })
  let errors = ''
  child.stderr.on('data', (chunk) => {
    errors += chunk
  })
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`git ${args.at(-1)} failed: ${errors}`)
}

/** One commit in the format of `git fast-import`; the same each time, so that its hash is too. */
const firstCommit = (project: Project): string => {
  const files = {
    'README.md': `# ${project.name}\n\nA repository of the GitLab simulator.\n`,
    'src/main.js': `console.log('hello from ${project.fullPath}')\n`,
  }
  const data = (text: string) => `data ${Buffer.byteLength(text)}\n${text}\n`
  const author = `Simulator <simulator@example.com> ${COMMITTED_AT}`
  const header = `commit refs/heads/main\nauthor ${author}\ncommitter ${author}\n${data('Begin')}`
  return (
    header +
    Object.entries(files)
      .map(([path, text]) => `M 100644 inline ${path}\n${data(text)}`)
      .join('')
  )
}

/** Bare repositories in a temporary folder. Each is made when it is first asked for: a start costs nothing. */
export const createGitRepositories = () => {
  let folder: Promise<string> | undefined
  const made = new Map<number, Promise<string>>()

  const make = async (project: Project): Promise<string> => {
    folder ??= mkdtemp(join(tmpdir(), 'gitlab-simulator-'))
    const path = join(await folder, `${project.id}.git`)
    await git(['init', '--quiet', '--bare', '--initial-branch=main', path])
    await git(['-C', path, 'fast-import', '--quiet'], firstCommit(project))
    return path
  }

  return {
    pathOf(project: Project): Promise<string> {
      const known = made.get(project.id) ?? make(project)
      made.set(project.id, known)
      return known
    },
    async close() {
      await Promise.allSettled(made.values())
      if (folder) await rm(await folder, { recursive: true, force: true })
    },
  }
}

export type GitRepositories = ReturnType<typeof createGitRepositories>
