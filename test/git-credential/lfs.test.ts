import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { connectByOAuth, type Stage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { createScanner, type Scanner, startStranger } from '../support/git-scanner.ts'
import { connectAs, KINDS, leaksNothing, scannerOf, setGitStage } from '../support/git-stage.ts'

const CONTENT = 'a large file of acme/web-shop'
const LFS_TYPE = 'application/vnd.git-lfs+json'
/** What `git lfs install` writes, for this scanner alone. */
const INSTALL = 'git lfs install --skip-repo > /dev/null'
const CLONE = `${INSTALL} && git clone -q "$GITLAB/acme/web-shop.git" && cat web-shop/large.bin`
const hasLfs = await promisify(execFile)('git', ['lfs', 'version']).then(
  () => true,
  () => false,
)
if (!hasLfs) t.comment('git-lfs is not on this machine: its requests are sent step by step')

/** Commits a pointer to acme/web-shop, and keeps the file at GitLab. */
const addLargeFile = async (t: Test, stage: Stage, path = 'large.bin'): Promise<string> => {
  const { world, url } = stage.simulator
  const { oid, pointer } = world.lfs.add(world.people.findProject('acme/web-shop')?.id ?? 0, CONTENT)
  const { token } = world.createAccessToken({
    kind: 'personal',
    username: 'maria',
    scopes: ['write_repository'],
  })
  const machine = await createScanner(t, { broker: '', key: '', gitlab: '', helper: 'curl' })
  const { status, output } = await machine.run(`set -e
    git clone -q ${url.replace('://', `://oauth2:${token}@`)}/acme/web-shop.git main; cd main
    printf '*.bin filter=lfs diff=lfs merge=lfs -text\n' > .gitattributes
    printf '${pointer.replaceAll('\n', '\\n')}' > ${path}
    git add . && git -c user.name=a -c user.email=a@example.com commit -qm 'A large file' && git push -q origin HEAD:main`)
  if (status !== 0) throw new Error(output)
  return oid
}

/** As Git LFS asks Git for a credential: for a repository, or for an endpoint that the repository names. */
const fill = async (scanner: Scanner, gitlab: string, endpoint = ''): Promise<Map<string, string>> => {
  const { protocol, host, pathname } = new URL(`${gitlab}/acme/web-shop.git${endpoint}`)
  const lines = [`protocol=${protocol.slice(0, -1)}`, `host=${host}`, `path=${pathname.slice(1)}`]
  const { output } = await scanner.run(`printf '%s\\n' '${lines.join("' '")}' '' | git credential fill`)
  return new Map(output.split('\n').map((line) => line.split(/=(.*)/s) as [string, string]))
}

const basic = (credential: Map<string, string>) =>
  `Basic ${Buffer.from(`${credential.get('username')}:${credential.get('password')}`).toString('base64')}`

const askForObjects = (gitlab: string, oids: string[], authorization?: string) =>
  fetch(`${gitlab}/acme/web-shop.git/info/lfs/objects/batch`, {
    method: 'POST',
    headers: {
      accept: LFS_TYPE,
      'content-type': LFS_TYPE,
      ...(authorization === undefined ? {} : { authorization }),
    },
    body: JSON.stringify({
      operation: 'download',
      transfers: ['basic'],
      objects: oids.map((oid) => ({ oid, size: CONTENT.length })),
    }),
  })

type LfsObject = {
  error?: { code: number }
  actions?: { download: { href: string; header: Record<string, string> } }
}

/** The requests of Git LFS, one by one, with the credential that Git has from its helper. */
const downloadStepByStep = async (
  t: Test,
  scanner: Scanner,
  gitlab: string,
  oid: string,
): Promise<string> => {
  const refused = await askForObjects(gitlab, [oid])
  t.equal(refused.status, 401)
  t.match(refused.headers.get('www-authenticate'), /^Basic /)
  const named = await fill(scanner, gitlab, '/info/lfs')
  t.ok(named.has('password'), 'an endpoint of its own is looked up as its project')
  const answer = await askForObjects(gitlab, [oid, 'f'.repeat(64)], basic(await fill(scanner, gitlab)))
  t.equal(answer.status, 200)
  const [found, missing] = ((await answer.json()) as { objects: LfsObject[] }).objects
  t.match(missing?.error, { code: 404 })
  const { href = '', header = {} } = found?.actions?.download ?? {}
  t.ok(href.startsWith(`${gitlab}/acme/web-shop.git/gitlab-lfs/objects/`), 'the file comes from GitLab')
  return (await fetch(href, { headers: header })).text()
}

for (const [path, helper] of [
  ['', 'curl'],
  ['/gitlab', 'program'],
] as const)
  t.test(
    `Git LFS asks the broker by itself, with a GitLab at ${path || 'the root of its host'}`,
    async (t) => {
      const stage = await setGitStage(t, { path })
      const oid = await addLargeFile(t, stage)
      for (const kind of KINDS)
        await t.test(`with the token of ${kind}, by ${helper}`, async (t) => {
          const organization = `${kind.replaceAll(' ', '-')}-${helper}`
          await connectAs(stage, kind, organization)
          const { key, scanner } = await scannerOf(t, stage, helper, organization)
          t.equal(await downloadStepByStep(t, scanner, stage.simulator.url, oid), CONTENT)
          if (!hasLfs) return
          const { status, output } = await scanner.run(`${CLONE} && cat web-shop/.git/config`)
          t.equal(status, 0, output)
          t.ok(output.startsWith(CONTENT), output)
          await leaksNothing(t, stage, scanner, key, output)
          const asked = new URL(`${stage.simulator.url}/acme/web-shop.git`)
          t.ok(
            (await scanner.arguments()).includes(
              `git credential fill ("http", "${asked.host}", "${asked.pathname.slice(1)}")`,
            ),
            'Git LFS asks as the steps above do',
          )
        })
    },
  )

t.test('a token that ends before the large files come is replaced within the same command', async (t) => {
  const stage = await setGitStage(t)
  const { broker, simulator } = stage
  const oid = await addLargeFile(t, stage)
  await connectByOAuth(stage)
  const { scanner, key } = await scannerOf(t, stage, 'curl')
  const versions = async () =>
    (
      await broker.db
        .selectFrom('leases')
        .select('token_version')
        .where('rejected_at', 'is not', null)
        .execute()
    ).map(({ token_version }) => token_version)
  if (hasLfs) {
    t.same(await scanner.run(`GIT_LFS_SKIP_SMUDGE=1; export GIT_LFS_SKIP_SMUDGE; ${CLONE} > /dev/null`), {
      status: 0,
      output: '',
    })
    simulator.clock.advance(7_300)
    const pulled = await scanner.run('cd web-shop && git lfs pull && cat large.bin')
    t.match(pulled, { status: 0, output: new RegExp(`${CONTENT}$`) })
    await leaksNothing(t, stage, scanner, key, pulled.output)
    t.same(await versions(), [1])
    simulator.clock.advance(-7_300)
  }
  const credential = await fill(scanner, simulator.url)
  simulator.world.revokeToken(credential.get('password') ?? '')
  t.equal((await askForObjects(simulator.url, [oid], basic(credential))).status, 401)
  const lines = [...credential].map(([name, value]) => `${name}=${value}\n`).join('')
  const rejected = await scanner.run(`git credential reject <<'END'\n${lines}END`)
  t.equal(rejected.status, 0)
  t.ok((await versions()).includes(hasLfs ? 2 : 1), 'the lease of that token is rejected')
})

t.test(
  'another host learns nothing: neither a storage of the files nor an endpoint in .lfsconfig',
  async (t) => {
    const stage = await setGitStage(t)
    const { simulator } = stage
    const oid = await addLargeFile(t, stage)
    await connectToken(stage)
    const { scanner, key } = await scannerOf(t, stage, 'program')
    const seen: (string | undefined)[] = []
    const storage = createServer((request, response) => {
      seen.push(request.headers.authorization)
      response.end(CONTENT)
    }).listen(0, '127.0.0.1')
    await once(storage, 'listening')
    t.teardown(() => storage.close())
    simulator.world.lfs.storeAt(`http://127.0.0.1:${(storage.address() as AddressInfo).port}`)
    t.equal(await downloadStepByStep(t, scanner, simulator.url, oid), CONTENT)
    const stranger = await startStranger(t)
    const host = new URL(stranger.url).host
    const asked = await scanner.run(
      `printf 'protocol=http\\nhost=${host}\\npath=acme/library.git/info/lfs\\n\\n' | git credential fill`,
    )
    t.not(asked.status, 0, 'no helper answers for another host')
    if (hasLfs) {
      const cloned = await scanner.run(CLONE)
      t.match(cloned, { status: 0, output: CONTENT })
      const elsewhere = await scanner.run(
        `cd web-shop && rm -rf .git/lfs large.bin && git config -f .lfsconfig lfs.url ${stranger.url}/info/lfs && git checkout -q large.bin`,
      )
      t.not(elsewhere.status, 0)
      t.ok(stranger.seen.length > 0)
      await leaksNothing(t, stage, scanner, key, cloned.output + elsewhere.output)
    }
    t.ok(seen.length > 0)
    t.same(
      [...seen, ...stranger.seen].filter((header) => header !== undefined),
      [],
    )
  },
)

t.test('a refusal ends Git LFS at once, and says why', async (t) => {
  const stage = await setGitStage(t)
  const oid = await addLargeFile(t, stage)
  const { scanner } = await scannerOf(t, stage, 'curl')
  const { host } = new URL(stage.simulator.url)
  const asked = await scanner.run(
    `printf 'protocol=http\\nhost=${host}\\npath=acme/web-shop.git\\n\\n' | git credential fill`,
  )
  t.not(asked.status, 0)
  t.match(asked.output, /no_connection_for_url/)
  if (!hasLfs) return
  const pointer = `version https://git-lfs.github.com/spec/v1\\noid sha256:${oid}\\nsize ${CONTENT.length}\\n`
  const pulled = await scanner.run(
    `git init -q empty && cd empty && git remote add origin "$GITLAB/acme/web-shop.git" && printf '${pointer}' | git lfs smudge`,
  )
  t.not(pulled.status, 0)
  t.match(pulled.output, /no_connection_for_url/)
  t.notMatch(pulled.output, /could not read Username/)
})
