// npm run test:upgrade -- --from GIT_REF | --tree FOLDER, [--take-out] [--one-way]: docs/recovery.md, "Upgrades and back".
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { SEEDED_APP } from '../../simulator/seed.ts'
import { type Simulator, startSimulator } from '../../simulator/simulator.ts'
import { askPort, type Balancer, startBalancer } from '../support/balancer.ts'
import { freePort, startCluster } from '../support/postgres.ts'
import { BACK, judgeUpgrade, type Step } from './verdict.ts'

const ROOT = join(import.meta.dirname, '../..')
const KEY = `FAKE-admin-key-${randomBytes(24).toString('hex')}`
const CONNECTIONS = 24
const LANES = 6
const PAUSE_MS = 15
/** A version that refuses the schema never becomes ready. */
const READY_LIMIT_MS = 60_000
const TAKEN_OUT_MS = 500
const LANDING_MS = 3_000
const SHUTDOWN_DELAY_SECONDS = '4'

const { values } = parseArgs({
  options: {
    from: { type: 'string' },
    tree: { type: 'string' },
    'take-out': { type: 'boolean', default: false },
    'one-way': { type: 'boolean', default: false },
  },
})
if (values.from === undefined && values.tree === undefined) {
  console.error(
    'Usage: npm run test:upgrade -- --from GIT_REF | --tree FOLDER, [--take-out] [--one-way: the earlier version may refuse this schema]',
  )
  process.exit(2)
}

/** The earlier version in a folder of its own, with its own dependencies. */
const checkOut = (ref: string, folder: string): string => {
  const tree = join(folder, 'tree')
  execFileSync('git', ['worktree', 'add', '--detach', tree, ref], { cwd: ROOT, stdio: 'ignore' })
  console.log(`installing the dependencies of ${ref}`)
  execFileSync('npm', ['ci', '--no-audit', '--no-fund', '--ignore-scripts'], { cwd: tree, stdio: 'ignore' })
  return tree
}

/** What a broker logs of an answer 500. */
const faults: string[] = []

type Replica = { port: number; dataDir: string; child?: ChildProcess; lastWords: string }

const launch = (replica: Replica, tree: string, databaseUrl: string): void => {
  const child = spawn(process.execPath, ['src/main.ts'], {
    cwd: tree,
    env: {
      PATH: process.env.PATH,
      PORT: String(replica.port),
      HOST: '127.0.0.1',
      DATA_DIR: replica.dataDir,
      DATABASE_URL: databaseUrl,
      MASTER_KEY: Buffer.alloc(32, 1).toString('base64'),
      BOOTSTRAP_ADMIN_KEY: KEY,
      SHUTDOWN_DELAY_SECONDS,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  replica.child = child
  replica.lastWords = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      replica.lastWords = (replica.lastWords + text).slice(-4_000)
      for (const line of text.split('\n'))
        if (line.includes('"unexpected error"')) faults.push(line.slice(0, 1_500))
    })
}

const end = async ({ child }: Replica): Promise<void> => {
  if (!child || child.exitCode !== null || child.signalCode !== null) return
  const closed = once(child, 'close')
  child.kill('SIGTERM')
  await closed
}

const untilReady = async ({ port, child }: Replica): Promise<boolean> => {
  const limit = performance.now() + READY_LIMIT_MS
  while (performance.now() < limit && child?.exitCode === null) {
    const answer = await askPort(port, '/readyz', KEY).catch(() => undefined)
    if (answer?.status === 200) return true
    await sleep(50)
  }
  return false
}

const connectAll = async (port: number, { world, url: base_url }: Simulator): Promise<string[]> => {
  const create = async (path: string, body: object): Promise<{ id: string }> => {
    const answer = await askPort(port, path, KEY, { method: 'POST', body })
    if (answer.status !== 201) throw new Error(`POST ${path}: ${answer.text}`)
    return JSON.parse(answer.text)
  }
  const instance = await create('/v1/instances', { base_url, allow_private_network: true })
  const { clientId, clientSecret } = SEEDED_APP
  const app = { slug: 'simulator', client_id: clientId, client_secret: clientSecret }
  await create('/v1/oauth-apps', { ...app, instance_id: instance.id })
  const scopes = ['read_user', 'read_api', 'read_repository']
  const ids: string[] = []
  for (let number = 0; number < CONNECTIONS; number += 1) {
    const username = `member-${number}`
    world.addUser({ username })
    const { accessToken, refreshToken } = world.issueOAuthToken({ username, clientId, scopes })
    const tokens = { access_token: accessToken, refresh_token: refreshToken, oauth_app: 'simulator' }
    ids.push((await create('/v1/connections/oauth-token', { organization: 'acme', base_url, ...tokens })).id)
  }
  return ids
}

/** Lookups without a break, each token used at GitLab at once. */
const startLoad = (balancer: Balancer, simulator: Simulator, ids: string[]) => {
  let going = true
  let served = 0
  const failures: string[] = []
  const lane = async (index: number) => {
    for (let turn = index; going; turn += 1) {
      const path = `/v1/connections/${ids[turn % ids.length]}/credential`
      const answer = await balancer
        .send(turn, path)
        .catch((error: Error) => ({ status: 0, text: error.message }))
      const token = answer.status === 200 ? (JSON.parse(answer.text).token as string) : ''
      if (simulator.world.tokenState(token) === 'active') served += 1
      else failures.push(`${answer.status} ${answer.status === 200 ? 'a dead token' : answer.text}`)
      await sleep(PAUSE_MS)
    }
  }
  const running = Promise.all(Array.from({ length: LANES }, (_, index) => lane(index)))
  return {
    /** What happened since it was last asked. */
    take() {
      const taken = { served, failures: failures.splice(0) }
      served = 0
      return taken
    },
    async stop() {
      going = false
      await running
    },
  }
}

type Stage = {
  replicas: Replica[]
  balancer: Balancer
  load: ReturnType<typeof startLoad>
  databaseUrl: string
}

/** @returns false when a replica of that version does not become ready: then the one before runs again. */
const roll = async (stage: Stage, tree: string, before: string): Promise<boolean> => {
  const { replicas, balancer, databaseUrl } = stage
  for (const replica of replicas) {
    if (values['take-out']) {
      balancer.takeOut(replica.port)
      await sleep(TAKEN_OUT_MS)
    }
    await end(replica)
    launch(replica, tree, databaseUrl)
    const isReady = await untilReady(replica)
    if (!isReady) {
      console.log(`  not ready: ${replica.lastWords.trim().split('\n').slice(-3).join(' | ').slice(0, 900)}`)
      await end(replica)
      launch(replica, before, databaseUrl)
      await untilReady(replica)
    }
    balancer.letIn(replica.port)
    while (!balancer.ready.has(replica.port)) await sleep(20)
    if (!isReady) return false
  }
  await sleep(LANDING_MS)
  return true
}

const tell = (
  name: string,
  isReady: boolean,
  { served, failures }: { served: number; failures: string[] },
): Step => {
  console.log(`${name}: ${served} lookups served, ${failures.length} failed`)
  const kinds = new Map<string, number>()
  for (const failure of failures) {
    const kind = failure.slice(0, 200)
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
  }
  for (const [kind, count] of [...kinds].slice(0, 8)) console.log(`  ${count} x ${kind}`)
  const logged = faults.splice(0)
  for (const fault of new Set(logged)) console.log(`  logged: ${fault}`)
  return { name, isReady, served, failed: failures.length, faults: logged.length }
}

const folder = mkdtempSync(join(tmpdir(), 'gtb-upgrade-'))
const earlier = values.tree ?? checkOut(values.from!, folder)
const cluster = await startCluster()
const simulator = await startSimulator({ repositories: false })
const replicas: Replica[] = []
for (const name of ['one', 'two', 'three'])
  replicas.push({ port: await freePort(), dataDir: join(folder, name), lastWords: '' })
const steps: Step[] = []
try {
  for (const replica of replicas) {
    launch(replica, earlier, cluster.url)
    if (!(await untilReady(replica)))
      throw new Error(`the earlier version does not start: ${replica.lastWords}`)
  }
  const ids = await connectAll(replicas[0]!.port, simulator)
  const balancer = startBalancer(
    replicas.map(({ port }) => port),
    KEY,
    LANES,
  )
  const load = startLoad(balancer, simulator, ids)
  const stage = { replicas, balancer, load, databaseUrl: cluster.url }
  await sleep(LANDING_MS)
  steps.push(tell('before', true, load.take()))
  const isOn = await roll(stage, ROOT, earlier)
  steps.push(tell('from the earlier version to this one', isOn, load.take()))
  const isBack = isOn && (await roll(stage, earlier, ROOT))
  if (isOn) steps.push(tell(BACK, isBack, load.take()))
  if (isBack) {
    const isOnAgain = await roll(stage, ROOT, earlier)
    steps.push(tell('and to this one again', isOnAgain, load.take()))
  }
  await load.stop()
  await balancer.stop()
} finally {
  for (const replica of replicas) await end(replica)
  await simulator.close()
  await cluster.stop()
  if (values.tree === undefined)
    execFileSync('git', ['worktree', 'remove', '--force', earlier], { cwd: ROOT, stdio: 'ignore' })
  rmSync(folder, { recursive: true, force: true })
}
const wrong = judgeUpgrade(steps, values['one-way'])
for (const line of wrong) console.log(`FAILED: ${line}`)
process.exit(wrong.length > 0 ? 1 : 0)
