// npm run check: every static check, side by side; what a check has to say is shown when it fails.
import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'

const root = join(import.meta.dirname, '..')
const WINDOWS = process.platform === 'win32'

type Run = { status: number; stdout: string; stderr: string }
type Outcome = { passed: boolean; output: string }

const run = (command: string, args: string[]): Promise<Run> =>
  new Promise((resolve) => {
    const PATH = [join(root, 'node_modules/.bin'), process.env.PATH].join(delimiter)
    const env = { ...process.env, PATH, REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' }
    const child = spawn(command, args, { cwd: root, env, shell: WINDOWS })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    child.once('error', ({ message }) => resolve({ status: 1, stdout, stderr: message }))
    child.once('close', (code) => resolve({ status: code ?? 1, stdout, stderr }))
  })

const tool =
  (command: string, ...args: string[]) =>
  async (): Promise<Outcome> => {
    const { status, stdout, stderr } = await run(command, args)
    return { passed: status === 0, output: [stdout.trim(), stderr.trim()].filter(Boolean).join('\n') }
  }

/** Where two texts part, which is more use than both of them. */
const firstDifference = (committed: string, generated: string): string => {
  const theirs = generated.split('\n')
  const line = committed.split('\n').findIndex((text, index) => text !== theirs[index])
  const number = line === -1 ? committed.split('\n').length : line
  return `line ${number + 1}\n  committed: ${committed.split('\n')[number] ?? '(ends)'}\n  generated: ${theirs[number] ?? '(ends)'}`
}

const openApiIsGenerated = async (): Promise<Outcome> => {
  const { status, stdout, stderr } = await run('node', ['src/cli.ts', 'openapi'])
  if (status !== 0) return { passed: false, output: stderr }
  const committed = await readFile(join(root, 'openapi.yaml'), 'utf8')
  const output = `openapi.yaml is not what the code describes: npm run fix writes it anew. It differs at ${firstDifference(committed, stdout)}`
  return { passed: committed === stdout, output }
}

const CHECKS: Record<string, () => Promise<Outcome>> = {
  'Biome: lint and format': tool('biome', 'check', '.'),
  'TypeScript: types': tool('tsc', '--project', '.'),
  'knip: nothing unused': tool('knip', '--no-progress'),
  'Redocly: openapi.yaml is sound': tool('redocly', 'lint', 'openapi.yaml', '--format=stylish'),
  'openapi.yaml is what the code describes': openApiIsGenerated,
  'The client is what openapi.yaml describes': tool('node', 'scripts/generate-client.ts', '--check'),
}

const failed = await Promise.all(
  Object.entries(CHECKS).map(async ([name, check]) => {
    const start = performance.now()
    const { passed, output } = await check()
    const seconds = ((performance.now() - start) / 1000).toFixed(1)
    console.log(`${passed ? 'ok    ' : 'FAILED'}  ${name} (${seconds} s)`)
    return passed ? [] : [`--- ${name} ---\n${output}`]
  }),
).then((outputs) => outputs.flat())

if (failed.length > 0) {
  console.error(
    `\n${failed.join('\n\n')}\n\n${failed.length} of ${Object.keys(CHECKS).length} checks failed.`,
  )
  process.exitCode = 1
}
