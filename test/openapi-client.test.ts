import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { ADMIN_KEY, setStage } from './support/broker.ts'
import { connectToken } from './support/connect.ts'

const ROOT = join(import.meta.dirname, '..')
/** Runs a tool without the loaders that tap puts into the environment of every child: tsc does not start with them. */
const run = (tool: string, args: string[]) =>
  promisify(execFile)('env', ['-u', 'NODE_OPTIONS', join(ROOT, 'node_modules/.bin', tool), ...args])

/** What a scanner does, with the types of the generated client alone. */
const SCANNER = `
import {
  type Candidate,
  type Credential,
  defaults,
  explainCredential,
  findCredential,
  listConnections,
  type Problem,
  releaseLease,
} from './client.ts'

export const scan = async (baseUrl: string, key: string, url: string) => {
  defaults.baseUrl = baseUrl
  defaults.headers = { authorization: \`Bearer \${key}\` }
  const answer = await findCredential(url, { organization: 'acme', minTtl: 60, onConflict: 'respect' })
  if (answer.status !== 200) {
    const problem: Problem = answer.data
    const again: string | undefined = problem.leased_until
    const lost: 'active' | 'needs_reauthorization' | 'revoked' | 'expired' | undefined = problem.candidates?.[0]?.status
    return { code: problem.code satisfies string, again, lost }
  }
  if (!('token' in answer.data)) return { code: 'wrapped' as const }
  const credential: Credential = answer.data
  const page = await listConnections()
  const reason = page.status === 200 ? page.data.items[0]?.status_reason : undefined
  if (reason === 'token_revoked') return { code: 'revoked' as const }
  const explanation = await explainCredential(url, { organization: 'acme' })
  const candidates: Candidate[] = explanation.status === 200 ? explanation.data.candidates : []
  const released = await releaseLease(credential.lease_id)
  return { id: credential.connection_id, won: candidates[0]?.won, released: released.status }
}
`

/** The lines that each must not compile: the types say what there is. */
const FAULTS = [
  'const a: string = credential.expires_at',
  'credential.secret',
  "problem.code === 'no_such_code'",
  "connection.status_reason === 'no_such_reason'",
  "connection.status === 'dead'",
  'problem.leased_until.length',
  "findCredential('x', { onConflict: 'perhaps' })",
  'getInstance()',
]

const compile = async (folder: string, file: string): Promise<string> => {
  const config = {
    extends: join(ROOT, 'tsconfig.json'),
    // The generated client was not written for the strictest options.
    compilerOptions: { exactOptionalPropertyTypes: false, noUnusedLocals: false, lib: ['esnext', 'dom'] },
    files: [file],
    include: [],
  }
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(config))
  return run('tsc', ['--project', folder]).then(
    () => '',
    ({ stdout, stderr, message }) => stdout || stderr || message,
  )
}

const generate = async (t: Test): Promise<string> => {
  const folder = t.testdir({ 'package.json': '{ "type": "module" }', 'scanner.ts': SCANNER })
  await run('oazapfts', [join(ROOT, 'openapi.yaml'), join(folder, 'client.ts'), '--futureStripLegacyMethods'])
  return folder
}

t.test('a client generated from openapi.yaml compiles, and works', async (t) => {
  const folder = await generate(t)
  t.equal(await compile(folder, 'scanner.ts'), '')

  const stage = await setStage(t)
  const { id } = await connectToken(stage)
  const { scan } = await import(pathToFileURL(join(folder, 'scanner.ts')).href)
  const url = `${stage.simulator.url}/acme/web-shop`
  t.same(await scan(stage.broker.url, ADMIN_KEY, url), { id, won: true, released: 204 })
  t.match(await scan(stage.broker.url, ADMIN_KEY, 'https://gitlab.invalid/a/b'), {
    code: 'no_connection_for_url',
  })
})

t.test('its types refuse what is not there', async (t) => {
  const folder = await generate(t)
  const lines = [
    "import { type Connection, type Credential, findCredential, getInstance, type Problem } from './client.ts'",
    'declare const credential: Credential, problem: Problem, connection: Connection',
    ...FAULTS,
  ]
  await writeFile(join(folder, 'faults.ts'), lines.join('\n'))
  const found = [...(await compile(folder, 'faults.ts')).matchAll(/faults\.ts\((\d+),/g)]
  t.same(
    [...new Set(found.map(([, line]) => Number(line)))],
    FAULTS.map((_, index) => index + 3),
  )
})
