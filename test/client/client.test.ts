import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import {
  ACTIONS,
  actionFor,
  BrokerProblem,
  createBrokerClient,
  type Lease,
  TokenRefused,
} from '../../src/client/index.ts'
import { CATALOGUE } from '../../src/errors/catalogue.ts'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { connect, HALF_LIFE, rowOf } from '../support/lifecycle.ts'

const ROOT = join(import.meta.dirname, '../..')

t.test('what to do on each code', async (t) => {
  t.same(
    Object.keys(ACTIONS).sort(),
    Object.keys(CATALOGUE).sort(),
    'every code of the catalogue, and no other',
  )
  t.same(
    [actionFor('new_code', 503), actionFor('new_code', 429), actionFor('new_code', 409)],
    ['retry', 'retry', 'stop'],
  )
  const table = [
    '| code | do |',
    '|---|---|',
    ...Object.entries(ACTIONS).map(([code, action]) => `| \`${code}\` | ${action} |`),
  ].join('\n')
  const page = await readFile(join(ROOT, 'docs/scanners.md'), 'utf8')
  t.ok(
    page.includes(`<!-- actions -->\n${table}\n<!-- end of actions -->`),
    `docs/scanners.md has this table:\n${table}`,
  )
})

t.test('the client', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const key = await broker.createKey('scanner', ['*'])
  const url = `${simulator.url}/acme/web-shop.git`
  const create = (t: Test, more: object = {}) => {
    const client = createBrokerClient({
      baseUrl: broker.url,
      key,
      organization: 'acme',
      patienceSeconds: 0,
      ...more,
    })
    t.teardown(() => client.close())
    return client
  }
  const held = async () =>
    (await broker.db.selectFrom('leases').select('id').where('released_at', 'is', null).execute()).length
  const { id, token } = await connectToken(stage)

  t.test('gives the lease back at the end of the block, failed or not', async (t) => {
    const client = create(t)
    const lease = await client.lookUp(url, { minTtl: 60, purpose: 'scan 1' })
    t.match(lease.credential, { token, connection_id: id })
    t.equal(await held(), 1)
    // What `await using` calls at the end of its block.
    await lease[Symbol.asyncDispose]()
    t.equal(await held(), 0)
    await t.rejects(
      client.withCredential(url, async () => Promise.reject(new Error('scan failed'))),
      /scan failed/,
    )
    t.equal(await held(), 0)
    t.equal(await client.withCredential(url, async (credential) => credential.token), token)
    const byId = await client.lookUpConnection(id)
    t.equal(byId.credential.token, token)
  })

  t.test('shares a lease among users at the same time', async (t) => {
    const client = create(t)
    const leases = await Promise.all(Array.from({ length: 5 }, () => client.lookUp(url)))
    t.equal(new Set(leases.map(({ credential }) => credential.lease_id)).size, 1)
    const longer = await client.lookUp(url, { minTtl: 3_600 })
    t.not(longer.credential.lease_id, leases[0]?.credential.lease_id, 'unless it is too short for one')
    await Promise.all(leases.map((lease) => lease.release()))
    t.equal(await held(), 1)
    await longer.release()
    await longer.release()
    t.equal(await held(), 0)
  })

  t.test('keeps a lease for the next use, when told so', async (t) => {
    const client = create(t, { keepSeconds: 60 })
    const first = await client.withCredential(url, async ({ lease_id }) => lease_id)
    const second = await client.withCredential(url, async ({ lease_id }) => lease_id)
    t.equal(second, first)
    t.equal(await held(), 1)
    await client.close()
    t.equal(await held(), 0)
  })

  t.test('has a refused token replaced once for all, and runs the job again', async (t) => {
    const oauth = await connect(stage)
    const { organization } = await rowOf(stage, oauth)
    const client = create(t, { organization })
    simulator.clock.advance(7_300)
    t.teardown(() => simulator.clock.advance(-7_300))
    const versions = await Promise.all(
      Array.from({ length: 4 }, () =>
        client.withCredential(url, async ({ token, token_version }) => {
          const { status } = await fetch(`${simulator.url}/api/v4/user`, {
            headers: { authorization: `Bearer ${token}` },
          })
          if (status === 401) throw new TokenRefused()
          return token_version
        }),
      ),
    )
    t.same(versions, [2, 2, 2, 2])
    const rejected = await broker.db
      .selectFrom('leases')
      .select('id')
      .where('rejected_at', 'is not', null)
      .execute()
    t.equal(rejected.length, 1)
  })

  t.test('extends a lease', async (t) => {
    const oauth = await connect(stage)
    const client = create(t)
    const lease: Lease = await client.lookUpConnection(oauth, { minTtl: 60 })
    const { lease_id, token_version } = lease.credential
    t.match(await lease.extend(3_000), { lease_id, token_version })
    clock.advance(HALF_LIFE)
    t.match(await lease.extend(7_000), { token_version: 2 })
    t.not(lease.credential.lease_id, lease_id)
  })

  t.test('takes many at once, each a lease or its problem', async (t) => {
    const client = create(t)
    const requests = [{ url }, { url: 'https://nowhere.example/a/b' }, { connection_id: id }]
    const results = await client.batch(requests, { idempotencyKey: 'run 1', waitSeconds: 10 })
    const [first, second, third] = results
    t.ok(first && !(first instanceof BrokerProblem) && first.credential.token === token)
    t.match(second, { code: 'no_connection_for_url', action: 'ask', status: 404 })
    t.ok(third && !(third instanceof BrokerProblem))
    const before = await held()
    for (const lease of results) if (!(lease instanceof BrokerProblem)) await lease.release()
    t.equal(await held(), before - 2)
  })

  t.test('checks before a scan', async (t) => {
    const results = await create(t).preflight([url, 'https://nowhere.example/a/b'], { scanSeconds: 60 })
    t.match(results, [{ url, ready: true }, { ready: false }])
  })

  t.test('throws problems with what to do, and tries again what the table says', async (t) => {
    await t.rejects(create(t).lookUp('https://nowhere.example/a/b'), {
      code: 'no_connection_for_url',
      action: 'ask',
    })
    await t.rejects(create(t, { key: 'gtb_scn_FAKE' }).lookUp(url), { code: 'unauthorized', action: 'ask' })
    await t.rejects(create(t, { baseUrl: 'http://127.0.0.1:1' }).lookUp(url), {
      code: 'broker_unreachable',
      action: 'retry',
    })
    await t.rejects(create(t, { baseUrl: simulator.url }).lookUp(url), {
      code: 'unexpected_answer',
      action: 'stop',
    })
    let calls = 0
    const flaky: typeof fetch = async (...args) => {
      calls += 1
      if (calls > 2) return fetch(...args)
      const body = JSON.stringify({ code: 'overloaded', status: 503, detail: 'Busy.' })
      return new Response(body, {
        status: 503,
        headers: { 'content-type': 'application/problem+json', 'retry-after': '0' },
      })
    }
    const patient = create(t, { fetch: flaky, patienceSeconds: 30, key: async () => key })
    t.equal(await patient.withCredential(url, async (credential) => credential.token), token)
    t.ok(calls >= 3)
  })
})

t.test(
  'the package holds the client as JavaScript with its types, and nothing of the service is loaded',
  async (t) => {
    const folder = t.testdir({
      'package.json': '{ "type": "module" }',
      'use.ts': `
import { createBrokerClient, type Credential, type Lease } from 'gitlab-token-broker/client'
export const use = async (key: string) => {
  await using client = createBrokerClient({ baseUrl: 'http://127.0.0.1:1', key, patienceSeconds: 0 })
  const lease: Lease = await client.lookUp('https://gitlab.com/a/b', { minTtl: 1 })
  const credential: Credential = lease.credential
  // @ts-expect-error the types say what there is
  credential.nothing
}`,
      'use.mjs': `
import { createBrokerClient } from 'gitlab-token-broker/client'
const client = createBrokerClient({ baseUrl: 'http://127.0.0.1:1', key: 'x', patienceSeconds: 0 })
await client.lookUp('https://gitlab.com/a/b').catch(({ code }) => console.log(code))`,
      'tsconfig.json': JSON.stringify({
        compilerOptions: {
          module: 'nodenext',
          target: 'esnext',
          strict: true,
          noEmit: true,
          lib: ['esnext', 'dom'],
        },
        files: ['use.ts'],
      }),
    })
    const sh = (script: string) =>
      promisify(execFile)('env', ['-u', 'NODE_OPTIONS', 'sh', '-ec', script], {
        cwd: folder,
        env: { ...process.env, ROOT },
      })
    await sh(`
    npm pack "$ROOT" --silent --pack-destination . > /dev/null
    mkdir -p node_modules/gitlab-token-broker node_modules/@oazapfts
    tar -xzf gitlab-token-broker-*.tgz -C node_modules/gitlab-token-broker --strip-components 1
    cp -r "$ROOT/node_modules/@oazapfts/runtime" node_modules/@oazapfts/`)
    const { stdout } = await sh(`'${process.execPath}' use.mjs`)
    t.equal(stdout, 'broker_unreachable\n')
    t.equal((await sh(`"$ROOT/node_modules/.bin/tsc" -p . || true`)).stdout, '')
    const program = await sh(
      `echo | '${process.execPath}' node_modules/gitlab-token-broker/src/client/git-credential-gitlab-token-broker.mjs get`,
    )
    t.equal(program.stdout, 'quit=true\n')
  },
)
