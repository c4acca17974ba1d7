import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { gitEnvironment, runGit } from '../demo/git-clone.ts'
import { setStage } from './support/broker.ts'
import { connectToken } from './support/connect.ts'

const readme = await readFile(join(import.meta.dirname, '..', 'README.md'), 'utf8')
const [, snippet = ''] = /```sh\n(export BROKER=\S+ SCANNER_KEY=[\s\S]*?)```/.exec(readme) ?? []

/** A host of somebody else's, which asks for a password and notes whatever it is given. */
const startStranger = async (t: Test) => {
  const seen: (string | undefined)[] = []
  const server = createServer((request, response) => {
    seen.push(request.headers.authorization)
    response.writeHead(401, { 'www-authenticate': 'Basic realm="GitLab"' }).end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/acme/library.git`, seen }
}

const createFolder = async (t: Test): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'gtb-snippet-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** Runs the snippet of the README in a shell, with other values in its first line and `after` behind it. */
const runSnippet = async (folder: string, env: Record<string, string>, change: (text: string) => string) => {
  const script = change(snippet.replace(/^export .*\n/, ''))
  const child = spawn('sh', ['-c', `${script}\necho "left: $(env | grep -c GIT_PASSWORD) $answer"`], {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: folder, ...env },
  })
  let output = ''
  child.stdout.on('data', (chunk) => {
    output += chunk
  })
  child.stderr.on('data', (chunk) => {
    output += chunk
  })
  await once(child, 'close')
  return output
}

for (const path of ['', '/gitlab']) {
  t.test(`the snippet of the README, with a GitLab at ${path || 'the root of its host'}`, async (t) => {
    const stage = await setStage(t, { simulator: { repositories: true, path } })
    const { broker, simulator } = stage
    const { token } = await connectToken(stage)
    const key = await broker.createKey('scanner', ['acme'])
    const env = {
      BROKER: broker.url,
      SCANNER_KEY: key,
      REPOSITORY: `${simulator.url}/acme/web-shop.git`,
    }
    const heldLeases = async () =>
      (await broker.db.selectFrom('leases').select('id').where('released_at', 'is', null).execute()).length

    t.test('clones, shows the token to no other host, and leaves nothing behind', async (t) => {
      const stranger = await startStranger(t)
      const folder = await createFolder(t)
      const output = await runSnippet(folder, env, (text) =>
        text.replace('git clone "$REPOSITORY"', `git clone "$REPOSITORY"; git ls-remote ${stranger.url}`),
      )
      t.ok((await readdir(folder)).includes('web-shop'), output)
      t.ok(stranger.seen.length > 0, 'the other host was asked')
      t.same(
        stranger.seen.filter((header) => header !== undefined),
        [],
      )
      t.match(output, /left: 0 \n/)
      t.notMatch(output, token)
      t.notMatch(output, key)
      t.equal(await heldLeases(), 0)
    })

    t.test('releases its lease also when the clone fails', async (t) => {
      const folder = await createFolder(t)
      await runSnippet(folder, env, (text) => text.replace('git clone "$REPOSITORY"', 'git clone /nowhere'))
      t.equal(await heldLeases(), 0)
    })

    t.test('stops at a refusal, and shows its code', async (t) => {
      const folder = await createFolder(t)
      const elsewhere = { ...env, REPOSITORY: 'https://nowhere.example/acme/web-shop.git' }
      const output = await runSnippet(folder, elsewhere, (text) => text)
      t.match(output, /No token: no_connection_for_url\. No connection/)
      t.notMatch(output, /Cloning/)
    })
  })
}

t.test('the environment of the demo shows the token to its own GitLab alone', async (t) => {
  const stranger = await startStranger(t)
  const environment = gitEnvironment('https://gitlab.example.com', {
    username: 'oauth2',
    password: 'FAKE-password',
  })
  await runGit(['ls-remote', stranger.url], environment)
  t.ok(stranger.seen.length > 0)
  t.same(
    stranger.seen.filter((header) => header !== undefined),
    [],
  )
})
