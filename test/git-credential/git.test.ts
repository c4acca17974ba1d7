import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { connectByOAuth, type Stage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { createScanner, type Helper, type Scanner, startStranger } from '../support/git-scanner.ts'
import { connectAs, KINDS, leaksNothing, scannerOf, setGitStage } from '../support/git-stage.ts'
import { freePort } from '../support/postgres.ts'

const OUT = 7_300
for (const [path, helper] of [
  ['', 'curl'],
  ['/gitlab', 'program'],
] as const) {
  t.test(`Git asks the broker by itself, with a GitLab at ${path || 'the root of its host'}`, async (t) => {
    const stage = await setGitStage(t, { path })
    const stranger = await startStranger(t)
    for (const kind of KINDS)
      await t.test(`with the token of ${kind}, by ${helper}`, async (t) => {
        const organization = `${kind.replaceAll(' ', '-')}-${helper}`
        await connectAs(stage, kind, organization)
        const { key, scanner } = await scannerOf(t, stage, helper, organization)
        const { status, output } = await scanner.run(
          `git clone -q "$GITLAB/acme/web-shop.git" && cat web-shop/.git/config; result=$?; git ls-remote ${stranger.url}; exit $result`,
        )
        t.equal(status, 0, output)
        t.match(await readFile(join(scanner.folder, 'web-shop/README.md'), 'utf8'), /web-shop/)
        await leaksNothing(t, stage, scanner, key, output)
      })
    t.ok(stranger.seen.length >= KINDS.length)
    t.same(
      stranger.seen.filter((header) => header !== undefined),
      [],
      'another host learns nothing',
    )
  })
}

for (const helper of ['curl', 'program'] as Helper[])
  t.test(`a refusal ends Git at once and says why, by ${helper}`, async (t) => {
    const stage = await setGitStage(t)
    const { scanner } = await scannerOf(t, stage, helper)
    const clone = 'git clone -q "$GITLAB/acme/web-shop.git"'
    const none = await scanner.run(clone)
    t.not(none.status, 0)
    t.match(none.output, /gitlab-token-broker: No connection within .* \(no_connection_for_url\)/)
    t.match(none.output, /told us to quit/)
    t.notMatch(none.output, /could not read Username/)
    const wrong = await scanner.run(
      `export SCANNER_KEY=gtb_scn_FAKE GITLAB_TOKEN_BROKER_KEY=gtb_scn_FAKE; ${clone}`,
    )
    t.match(wrong.output, /This access key is not known here.*\(unauthorized\)[\s\S]*told us to quit/)
    const away = `http://127.0.0.1:${await freePort()}`
    const gone = await scanner.run(`export BROKER=${away} GITLAB_TOKEN_BROKER_URL=${away}; ${clone}`)
    t.match(gone.output, /refused|connect[\s\S]*told us to quit/i)
  })

t.test('without useHttpPath, one connection for the whole instance is enough', async (t) => {
  const stage = await setGitStage(t, { path: '/gitlab' })
  await connectToken(stage)
  const { scanner } = await scannerOf(t, stage, 'curl')
  const clone = 'export GIT_CONFIG_VALUE_1=false; git clone -q "$GITLAB/acme/web-shop.git" ; rm -rf web-shop'
  t.equal((await scanner.run(clone)).output, '')
  await connectToken(stage, { username: 'tom', group: 'acme' })
  t.match(
    (await scanner.run(clone)).output,
    /more than one connection there: set credential.useHttpPath=true/,
  )
})

t.test('a fetch hours later gets a token that works then', async (t) => {
  // The token of 300 s is asked for while the lease of the clone lasts, shortly before the end of both, and after.
  for (const [lifetime, waits] of [
    [7_200, [OUT, OUT]],
    [300, [285, 20, 301]],
  ] as const) {
    const stage = await setGitStage(t, { accessTokenLifetimeSeconds: lifetime })
    const { broker, clock } = stage
    await connectByOAuth(stage)
    const { scanner } = await scannerOf(t, stage, 'curl')
    const clone = await scanner.run('git clone -q "$GITLAB/acme/web-shop.git"')
    t.equal(clone.output, '')
    for (const wait of waits) {
      clock.advance(wait)
      const fetched = await scanner.run('git -C web-shop fetch -q --all')
      t.same(fetched, { status: 0, output: '' })
    }
    const { token_version } = await broker.db
      .selectFrom('connections')
      .select('token_version')
      .executeTakeFirstOrThrow()
    t.equal(token_version, 3, `after two renewals, with tokens of ${lifetime} s`)
  }
})

/** Makes acme/web-shop a project with a submodule on the same GitLab and one on another host. */
const addSubmodules = async (stage: Stage, scanner: Scanner, stranger: string): Promise<void> => {
  const { token } = stage.simulator.world.createAccessToken({
    kind: 'personal',
    username: 'maria',
    scopes: ['write_repository'],
  })
  const push = stage.simulator.url.replace('://', `://oauth2:${token}@`)
  const { status, output } = await scanner.run(`set -e
    mkdir ../setup-$$; cd ../setup-$$; trap 'rm -rf "$PWD"' EXIT
    git clone -q ${push}/acme/web-shop.git main; cd main
    api=$(git ls-remote ${push}/acme/platform/api.git HEAD | cut -f1)
    printf '[submodule "api"]\n\tpath = api\n\turl = ../platform/api.git\n' > .gitmodules
    printf '[submodule "other"]\n\tpath = other\n\turl = ${stranger}\n\tupdate = none\n' >> .gitmodules
    git add .gitmodules
    git update-index --add --cacheinfo 160000,$api,api --cacheinfo 160000,$api,other
    git -c user.name=a -c user.email=a@example.com commit -qm submodules
    git push -q origin HEAD:main`)
  if (status !== 0) throw new Error(output)
}

t.test('submodules, partial and shallow clones take nothing more', async (t) => {
  const stage = await setGitStage(t)
  const stranger = await startStranger(t)
  await connectToken(stage)
  const { key, scanner } = await scannerOf(t, stage, 'curl')
  await addSubmodules(
    stage,
    await createScanner(t, { broker: '', key: '', gitlab: '', helper: 'curl' }),
    stranger.url,
  )
  const whole = await scanner.run(
    'git clone -q --recurse-submodules "$GITLAB/acme/web-shop.git" whole && cat whole/api/README.md',
  )
  t.match(whole, { status: 0, output: /# api/ })
  const partial = await scanner.run(
    'git clone -q --filter=blob:none --no-checkout "$GITLAB/acme/web-shop.git" partial && git -C partial show HEAD:src/main.js',
  )
  t.match(partial, { status: 0, output: /hello from acme/ })
  const shallow = await scanner.run(
    'git clone -q --depth 1 "$GITLAB/acme/web-shop.git" shallow && git -C shallow rev-list --count HEAD && git -C shallow fetch -q --unshallow && git -C shallow rev-list --count HEAD',
  )
  t.same(shallow, { status: 0, output: '1\n2\n' })
  const other = await scanner.run('cd whole && git submodule update --init --checkout other')
  t.not(other.status, 0)
  t.ok(stranger.seen.length > 0)
  t.same(
    stranger.seen.filter((header) => header !== undefined),
    [],
  )
  await leaksNothing(
    t,
    stage,
    scanner,
    key,
    [whole, partial, shallow, other].map(({ output }) => output).join(),
  )
})

t.test(
  'a clone whose token dies on the way goes on with the next one: Git erases and asks again',
  async (t) => {
    const stage = await setGitStage(t)
    const { broker, simulator } = stage
    const stranger = await startStranger(t)
    /** The token dies when Git has the main project and asks for the submodule. */
    const dieAt = (repository: string, die: () => void) => {
      const reached = Promise.withResolvers<void>()
      simulator.faults.add({
        match: { path: `/${repository}.git/info/refs` },
        effect: { kind: 'hold', until: reached.promise },
      })
      const watch = setInterval(() => {
        if (simulator.requests.count({ path: `/${repository}.git/info/refs` }) === 0) return
        clearInterval(watch)
        die()
        reached.resolve()
      }, 5)
      t.teardown(() => clearInterval(watch))
    }
    const clone = 'git clone -q --recurse-submodules "$GITLAB/acme/web-shop.git"'
    const scannerFor = async (organization: string, helper: Helper) =>
      (await scannerOf(t, stage, helper, organization)).scanner
    await addSubmodules(stage, await scannerFor('none', 'curl'), stranger.url)

    // An OAuth token that ends at GitLab earlier than GitLab said.
    await connectByOAuth(stage, { organization: 'oauth' })
    simulator.requests.clear()
    dieAt('acme/platform/api', () => simulator.clock.advance(OUT))
    const oauth = await (await scannerFor('oauth', 'curl')).run(`${clone} && cat web-shop/api/README.md`)
    simulator.clock.advance(-OUT)
    t.match(oauth, { status: 0, output: /# api/ })
    const rows = () =>
      broker.db
        .selectFrom('leases')
        .select(['organization', 'token_version'])
        .where('rejected_at', 'is not', null)
        .execute()
    t.same(await rows(), [{ organization: 'oauth', token_version: 1 }], 'one lease is rejected')
    simulator.faults.clear()

    // A personal token that its owner revokes; another connection covers the repository, too.
    await connectToken(stage, { organization: 'revoked', username: 'tom' })
    const first = await connectToken(stage, { organization: 'revoked', group: 'acme' })
    simulator.requests.clear()
    dieAt('acme/platform/api', () => simulator.world.revokeToken(first.token))
    const revoked = await (await scannerFor('revoked', 'program')).run(
      `${clone} && cat web-shop/api/README.md`,
    )
    t.match(revoked, { status: 0, output: /# api/ })
    t.match(await broker.get(`/v1/connections/${first.id}`), { body: { status: 'revoked' } })
  },
)
