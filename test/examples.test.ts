import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { parse, parseAllDocuments } from 'yaml'
import { setStage } from './support/broker.ts'
import { createFakeClock } from './support/clock.ts'
import { connectToken } from './support/connect.ts'
import { PROGRAM, startStranger } from './support/git-scanner.ts'
import { startIssuer, trustIssuer } from './support/issuer.ts'

const ROOT = join(import.meta.dirname, '..')
const EXAMPLES = join(ROOT, 'examples')
const read = (name: string) => readFile(join(EXAMPLES, name), 'utf8')
const isThere = (program: string, ...args: string[]): Promise<boolean> =>
  promisify(execFile)(program, args).then(
    () => true,
    () => false,
  )

const run = async (command: string[], env: Record<string, string>, folder: string) => {
  const [program = '', ...args] = command
  const child = spawn(program, args, { cwd: folder, env: { PATH: process.env.PATH, HOME: folder, ...env } })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (chunk) => {
      output += chunk
    })
  const [status] = await once(child, 'close')
  return { status, output }
}

const setExampleStage = async (t: Test) => {
  const stage = await setStage(t, {
    broker: { clock: createFakeClock(Date.now()) },
    simulator: { repositories: true },
  })
  const { broker, simulator } = stage
  const { token } = await connectToken(stage)
  const key = await broker.createKey('scanner', ['acme'])
  const env = {
    BROKER: broker.url,
    SCANNER_KEY: key,
    ORGANIZATION: 'acme',
    GITLAB: simulator.url,
    REPOSITORY: `${simulator.url}/acme/web-shop.git`,
  }
  const held = async () =>
    (await broker.db.selectFrom('leases').select('id').where('released_at', 'is', null).execute()).length
  return { ...stage, token, key, env, held }
}

const COMMANDS: Record<string, string[]> = {
  'curl.sh': ['sh', join(EXAMPLES, 'curl.sh')],
  'node.mjs': [process.execPath, join(EXAMPLES, 'node.mjs')],
  'scan.py': ['python3', join(EXAMPLES, 'scan.py')],
  'scan.go': ['go', 'run', join(EXAMPLES, 'scan.go')],
}

t.test('each example in a programming language looks up, calls GitLab, and gives back', async (t) => {
  const stage = await setExampleStage(t)
  const { env, token, key, held, simulator } = stage
  const stranger = await startStranger(t)
  await connectToken(stage, { organization: 'endless', expiresAt: null })
  const endless = await stage.broker.createKey('scanner', ['endless'])
  for (const [name, command] of Object.entries(COMMANDS)) {
    const [program = ''] = command
    // Languages that a machine lacks: Node and sh are always there.
    if (program !== 'sh' && !(await isThere(program, program === 'go' ? 'version' : '--version'))) {
      t.comment(`${name}: ${program} is not on this machine`)
      continue
    }
    const { status, output } = await run(command, env, t.testdir())
    t.equal(status, 0, `${name}: ${output}`)
    t.match(output, /The token works until 2/, name)
    t.notOk(output.includes(token) || output.includes(key), `${name} shows no secret`)
    t.equal(await held(), 0, `${name} gives the lease back`)
    const nowhere = await run(command, { ...env, REPOSITORY: 'https://nowhere.example/a/b' }, t.testdir())
    t.not(nowhere.status, 0, name)
    t.match(nowhere.output, /no_connection_for_url/, name)
    const withoutEnd = { ...env, ORGANIZATION: 'endless', SCANNER_KEY: endless }
    const lasting = await run(command, withoutEnd, t.testdir())
    t.match(lasting, { status: 0, output: /The token works until somebody ends it/ }, name)
    const headers = { location: stranger.url }
    simulator.faults.add({
      match: { path: '/api/v4/projects' },
      effect: { kind: 'status', status: 302, headers },
    })
    t.not((await run(command, env, t.testdir())).status, 0, `${name} tells of a redirect`)
    t.equal(stranger.seen.length, 0, `${name} follows none: another host learns nothing`)
  }
})

t.test('the jobs clone by workload identity, without any key', async (t) => {
  const { broker, simulator, clock, env, held } = await setExampleStage(t)
  const issuer = await startIssuer(t, clock)
  t.equal((await trustIssuer(broker, issuer)).status, 201)
  const jwt = await issuer.sign()
  const { SCANNER_KEY: _none, ...withoutKey } = env

  await t.test('in Kubernetes', async (t) => {
    const documents = parseAllDocuments(await read('kubernetes-job.yaml')).map((document) => document.toJS())
    const [account, job] = documents
    const { serviceAccountName, containers, volumes } = job.spec.template.spec
    t.equal(serviceAccountName, account.metadata.name)
    const [container] = containers
    t.match(volumes[0].projected.sources[0].serviceAccountToken, { path: 'token', audience: String })
    const names = container.env.map(({ name }: { name: string }) => name)
    t.same(names, ['BROKER', 'GITLAB', 'ORGANIZATION', 'REPOSITORY', 'IDENTITY'])
    const folder = t.testdir({ identity: jwt })
    const { status, output } = await run(
      [...container.command, ...container.args],
      { ...withoutKey, IDENTITY: join(folder, 'identity') },
      folder,
    )
    t.equal(status, 0, output)
    t.match(output, /README\.md/)
  })

  await t.test('in GitLab CI', async (t) => {
    const { scan } = parse(await read('gitlab-ci.yml'))
    t.match(scan.id_tokens.BROKER_ID_TOKEN, { aud: String })
    t.same(Object.keys(scan.variables), ['BROKER', 'ORGANIZATION', 'REPOSITORY'])
    const before = await held()
    const { status, output } = await run(
      ['sh', '-c', scan.script.join('\n')],
      { ...withoutKey, BROKER_ID_TOKEN: jwt },
      t.testdir(),
    )
    t.equal(status, 0, output)
    t.match(output, /README\.md/)
    t.equal(await held(), before, 'the lease is given back')
    const refused = await run(
      ['sh', '-c', scan.script.join('\n')],
      {
        ...withoutKey,
        BROKER_ID_TOKEN: jwt,
        REPOSITORY: `${simulator.url}/nowhere/x`,
        ORGANIZATION: 'globex',
      },
      t.testdir(),
    )
    t.not(refused.status, 0)
    t.match(refused.output, /"error"/)
  })
})

t.test('External Secrets gets what its store asks for', async (t) => {
  const { broker, key, token, env } = await setExampleStage(t)
  const [store, secret] = parseAllDocuments(await read('external-secrets.yaml')).map((document) =>
    document.toJS(),
  )
  const { url, headers, result, secrets } = store.spec.provider.webhook
  const [{ remoteRef, secretKey }] = secret.spec.data
  t.equal(secretKey, 'password')
  t.equal(secrets[0].name, 'broker')
  // What the operator does with its templates.
  const values: Record<string, string> = {
    '.remoteRef.key | urlquery': encodeURIComponent(env.REPOSITORY),
    '.remoteRef.property': remoteRef.property,
    '.broker.key': key,
  }
  const fill = (text: string) =>
    text.replace(/\{\{ (.+?) \}\}/g, (_all, name) => values[name] ?? `no ${name}`)
  const address = fill(url).replace('https://broker.example.com', broker.url)
  const response = await fetch(address, { headers: { authorization: fill(headers.Authorization) } })
  t.equal(response.status, 200)
  const [, property = ''] = /^\$\.(\w+)$/.exec(fill(result.jsonPath)) ?? []
  t.equal(((await response.json()) as Record<string, unknown>)[property], token)
})

t.test(
  'the program of the package is executable, and takes its settings from options and files',
  async (t) => {
    const { env, key, broker, token } = await setExampleStage(t)
    const folder = t.testdir()
    const file = join(folder, 'key')
    await writeFile(file, `${key}\n`)
    const ask = (args: string[], text: string) =>
      new Promise<{ stdout: string; stderr: string }>((resolve) => {
        const child = execFile(PROGRAM, args, { env: { PATH: process.env.PATH } }, (_error, stdout, stderr) =>
          resolve({ stdout, stderr }),
        )
        child.stdin?.end(text)
      })
    const { protocol, host } = new URL(env.REPOSITORY)
    const lines = `protocol=${protocol.slice(0, -1)}\nhost=${host}\npath=acme/web-shop.git\n`
    const options = ['--url', broker.url, '--key-file', file, '--min-ttl', '60', '--purpose', 'a test']
    const answer = await ask([...options, 'get'], lines)
    t.equal(answer.stderr, '')
    t.match(answer.stdout, `username=oauth2\npassword=${token}\n`)
    t.match(await broker.db.selectFrom('leases').selectAll().executeTakeFirst(), { purpose: 'a test' })
    t.same(await ask([...options, 'store'], lines), { stdout: '', stderr: '' })
    t.same(
      await ask([...options, 'capability'], ''),
      { stdout: '', stderr: '' },
      'further actions are ignored',
    )
    t.match(await ask([...options, 'erase'], `${lines}password=${token}\n`), {
      stdout: '',
      stderr: /token_works/,
    })
    for (const [args, message] of [
      [['--url', broker.url, 'get'], /GITLAB_TOKEN_BROKER_KEY/],
      [['--key-file', file, 'get'], /--url/],
      [['--unknown', 'get'], /unknown/i],
      [['--url', env.GITLAB, '--key-file', file, 'get'], /not as a broker does/],
    ] as const)
      t.match(await ask([...args], lines), { stdout: 'quit=true\n', stderr: message })
  },
)
