import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decodeProtectedHeader } from 'jose'
import t, { type Test } from 'tap'
import { migrateToLatest } from '../../src/db/migrate.ts'
import { openDatabase } from '../../src/db/open.ts'
import { createLogger } from '../../src/log.ts'
import { createSpool, type IssuedTokenSet } from '../../src/token-lifecycle/spool.ts'
import { createTokenSaver } from '../../src/token-lifecycle/token-saver.ts'
import { openKeyRing } from '../../src/vault/key-ring.ts'
import { createVault } from '../../src/vault/vault.ts'
import { MASTER_KEY, type Stage, setStage, startTestBroker } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { connect, lookUp, NO_TROUBLE, OUT, REFRESH, rowOf, until } from '../support/lifecycle.ts'
import { startCluster } from '../support/postgres.ts'

const AWAY = { status: 503, body: { code: 'database_unavailable' } }
const ROTATE = { path: '/api/v4/personal_access_tokens/self/rotate' }

/** A folder that outlives the brokers of a test. */
const createDataDir = async (t: Test): Promise<string> => {
  const dataDir = await mkdtemp(join(tmpdir(), 'gtb-spool-'))
  t.teardown(() => rm(dataDir, { recursive: true, force: true }))
  return dataDir
}

const GONE = '01900000-0000-7000-8000-00000000dead'

const unsaved = async (folder: string): Promise<string[]> =>
  (await readdir(folder)).filter((name) => name.endsWith('.jwe'))

const spooled = (dataDir: string): Promise<string[]> =>
  readdir(join(dataDir, 'spool')).then(
    (names) => names.filter((name) => /^[0-9a-f-]{36}\.\d+\.jwe$/.test(name)),
    () => [],
  )

/** Lets GitLab act, and holds its answer back until told. */
const holdAnswer = ({ simulator }: Stage, match: { path: string }) => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const events = () =>
    simulator.world.events.filter(({ kind }) => kind === 'refreshed' || kind === 'rotated').length
  const before = events()
  simulator.faults.add({ match, effect: { kind: 'hold-after', until: promise } })
  return { hasActed: () => until(() => events() > before), release: resolve }
}

t.test('a database that fails between the answer of GitLab and its saving', async (t) => {
  const whole = t
  const cluster = await startCluster({ durable: true })
  const database = openDatabase({ databaseUrl: cluster.url, dataDir: '', poolSize: 5 })
  t.teardown(async () => {
    await database.close()
    await cluster.stop()
  })
  await migrateToLatest(database)
  const dataDir = await createDataDir(t)
  const stage = await setStage(t, { broker: { database, config: { dataDir } } })
  const { simulator, clock } = stage
  const replays = () => simulator.world.events.filter(({ kind }) => kind.startsWith('replay')).length

  t.test('loses no refreshed token: the next start takes it up from the disk', async (t) => {
    const id = await connect(stage)
    clock.advance(OUT)
    const { hasActed, release } = holdAnswer(stage, REFRESH)
    const asking = lookUp(stage, id)
    await hasActed()
    await cluster.halt('crash')
    release()
    t.match(await asking, AWAY)
    t.match(await lookUp(stage, id), AWAY)

    const [name = '', ...others] = await spooled(dataDir)
    t.same([name, ...others], [`${id}.2.jwe`])
    const file = join(dataDir, 'spool', name)
    t.equal((await stat(file)).mode & 0o777, 0o600)
    t.equal((await stat(join(dataDir, 'spool'))).mode & 0o777, 0o700)
    t.match(decodeProtectedHeader(await readFile(file, 'utf8')), {
      enc: 'A256GCM',
      cid: id,
      ver: 2,
      use: 'spool',
    })

    await stage.broker.close()
    t.same(await spooled(dataDir), [name], 'it waits for the next start')
    await cluster.resume()
    const next = { broker: await startTestBroker(whole, { database, clock, config: { dataDir } }) }
    t.same(await spooled(dataDir), [])
    const answer = await lookUp(next, id)
    t.match(answer, { status: 200, body: { token_version: 2 } })
    t.equal(simulator.world.tokenState(answer.body.token), 'active')
    t.match(await rowOf(next, id), { status: 'active', ...NO_TROUBLE })
    clock.advance(OUT)
    t.match(
      await lookUp(next, id),
      { status: 200, body: { token_version: 3 } },
      'its refresh token came along',
    )
    t.equal(replays(), 0)
    stage.broker = next.broker
  })

  t.test('loses none either when the database comes back by itself', async (t) => {
    const id = await connect(stage)
    clock.advance(OUT)
    const { hasActed, release } = holdAnswer(stage, REFRESH)
    const asking = lookUp(stage, id)
    await hasActed()
    await cluster.halt('shut down')
    release()
    t.match(await asking, AWAY)
    t.equal((await spooled(dataDir)).length, 1)
    await cluster.resume()
    await until(async () => (await spooled(dataDir)).length === 0)
    t.match(await rowOf(stage, id), { status: 'active', token_version: 2, ...NO_TROUBLE })
    t.match(await lookUp(stage, id), { status: 200, body: { token_version: 2 } })
    t.equal(replays(), 0)
  })

  t.test('loses no rotated token', async (t) => {
    const { id } = await connectToken(stage, { scopes: ['read_repository', 'self_rotate'] })
    const { hasActed, release } = holdAnswer(stage, ROTATE)
    const rotating = stage.broker.post(`/v1/connections/${id}/rotate`)
    await hasActed()
    await cluster.halt('crash')
    release()
    t.match(await rotating, AWAY)
    await cluster.resume()
    await until(async () => (await spooled(dataDir)).length === 0)
    const answer = await lookUp(stage, id)
    t.match(answer, { status: 200, body: { token_version: 2 } })
    t.equal(simulator.world.tokenState(answer.body.token), 'active')
  })

  t.test('keeps it in memory when the disk does not take it either', async (t) => {
    const full = await createDataDir(t)
    await writeFile(join(full, 'spool'), 'a file where the folder should be')
    const other: Stage = {
      ...stage,
      broker: await startTestBroker(whole, { database, clock, config: { dataDir: full } }),
    }
    const id = await connect(stage)
    clock.advance(OUT)
    const { hasActed, release } = holdAnswer(other, REFRESH)
    const asking = lookUp(other, id)
    await hasActed()
    await cluster.halt('crash')
    release()
    t.match(await asking, AWAY)
    t.ok(other.broker.logLines.some((line) => /in memory only/.test(line)))
    await cluster.resume()
    await until(async () => (await rowOf(stage, id).catch(() => undefined))?.token_version === 2)
    t.match(await lookUp(other, id), { status: 200, body: { token_version: 2 } })
  })
})

/** A broker that is closing takes no new request. */
const hasBegunToClose = ({ broker }: Stage): Promise<boolean> =>
  broker.get('/healthz').then(
    ({ status }) => status === 503,
    () => true,
  )

t.test('a shutdown', async (t) => {
  const closes = async (t: Test, stage: Stage, release: () => void): Promise<void> => {
    let closed = false
    const closing = stage.broker.close().then(() => {
      closed = true
    })
    await until(() => hasBegunToClose(stage))
    t.notOk(closed, 'it waits')
    release()
    await closing
  }

  t.test('waits for an answer in flight, and for its saving', async (t) => {
    const stage = await setStage(t)
    const id = await connect(stage)
    stage.clock.advance(OUT)
    const { hasActed, release } = holdAnswer(stage, REFRESH)
    const asking = lookUp(stage, id)
    await hasActed()
    await closes(t, stage, release)
    t.match(await asking, { status: 200, body: { token_version: 2 } })
    t.match(await rowOf(stage, id), { token_version: 2, ...NO_TROUBLE })
  })

  t.test('also for one that no request waits for', async (t) => {
    const stage = await setStage(t)
    const id = await connect(stage)
    stage.clock.advance(OUT)
    stage.simulator.faults.add({ match: REFRESH, effect: { kind: 'status', status: 503 } })
    await lookUp(stage, id)
    stage.clock.advance(60)
    const { hasActed, release } = holdAnswer(stage, REFRESH)
    const mending = stage.broker.jobs.mendConnections()
    await hasActed()
    await closes(t, stage, release)
    await mending
    t.match(await rowOf(stage, id), { token_version: 2, ...NO_TROUBLE })
  })
})

t.test('what an earlier process left behind', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  const vault = createVault(await openKeyRing(broker.db, [MASTER_KEY], clock))
  const logLines: string[] = []
  const logger = createLogger('trace', { write: (line: string) => void logLines.push(line) })
  const saving = { vault, clock, logger, retentionSeconds: 86_400 }
  const issuedTo = async (connectionId: string, tokenVersion: number): Promise<IssuedTokenSet> => ({
    connectionId,
    grantId: (await rowOf(stage, connectionId).catch(() => undefined))?.grant_id ?? connectionId,
    tokenVersion,
    issuedAt: new Date(clock()),
    expiresAt: new Date(clock() + 7_200_000),
    accessToken: `FAKE-access-${tokenVersion}`,
    refreshToken: `FAKE-refresh-${tokenVersion}`,
    scopes: ['read_api', 'read_repository'],
  })
  const open = async (t: Test) => {
    const folder = join(await createDataDir(t), 'spool')
    const spool = createSpool(folder, vault, logger)
    const tokenSaver = createTokenSaver({
      ...saving,
      spool,
      db: broker.db,
      runPrepared: broker.database.runPrepared,
    })
    return { folder, spool, tokenSaver }
  }

  t.test('is saved where it is the next version', async (t) => {
    const { folder, spool, tokenSaver } = await open(t)
    const id = await connect(stage)
    await spool.write(await issuedTo(id, 2))
    t.same(await spool.list(), [await issuedTo(id, 2)])
    t.equal(await tokenSaver.takeUpSpool(), 1)
    t.same(await unsaved(folder), [])
    t.match((await lookUp(stage, id)).body, { token: 'FAKE-access-2', token_version: 2 })
  })

  t.test('brings back a connection that was given up meanwhile', async (t) => {
    const { spool, tokenSaver } = await open(t)
    const id = await connect(stage)
    await spool.write(await issuedTo(id, 2))
    await broker.db
      .updateTable('connections')
      .set({ status: 'needs_reauthorization', status_reason: 'refresh_answer_lost', status_detail: 'lost' })
      .where('id', '=', id)
      .execute()
    await tokenSaver.takeUpSpool()
    t.match(await rowOf(stage, id), {
      status: 'active',
      status_reason: null,
      status_detail: null,
      ...NO_TROUBLE,
    })
  })

  t.test('is dropped where a newer token is, and retained where the connection is gone', async (t) => {
    const { folder, spool, tokenSaver } = await open(t)
    const id = await connect(stage)
    clock.advance(OUT)
    t.match(await lookUp(stage, id), { body: { token_version: 2 } })
    const before = await rowOf(stage, id)
    await spool.write(await issuedTo(id, 1))
    await spool.write(await issuedTo(GONE, 5))
    t.equal(await tokenSaver.takeUpSpool(), 2)
    t.same(await unsaved(folder), [])
    t.same(await spool.listRetained(), [GONE], 'the database may have gone back to before it was made')
    t.same(await rowOf(stage, id), before)
  })

  t.test('stays where it is when it does not open, and holds up nothing else', async (t) => {
    const { folder, spool, tokenSaver } = await open(t)
    const id = await connect(stage)
    await mkdir(folder, { recursive: true })
    const moved = `${id}.7.jwe`
    await spool.write(await issuedTo(id, 2))
    await writeFile(join(folder, moved), await readFile(join(folder, `${id}.2.jwe`)))
    await writeFile(join(folder, `${id}.3.jwe.draft`), 'cut off')
    await writeFile(join(folder, 'README'), 'not ours')
    t.equal(await tokenSaver.takeUpSpool(), 1)
    t.same(
      (await readdir(folder)).filter((name) => name !== 'saved').sort(),
      [moved, `${id}.3.jwe.draft`, 'README'].sort(),
    )
    t.ok(logLines.some((line) => line.includes('does not open') && line.includes(moved)))
  })

  t.test('is tried again when the database fails at the start', async (t) => {
    const { folder, spool } = await open(t)
    const id = await connect(stage)
    const gone = openDatabase({
      databaseUrl: 'postgresql://postgres@127.0.0.1:1/none',
      dataDir: '',
      poolSize: 1,
    })
    const tokenSaver = createTokenSaver({ ...saving, spool, db: gone.db, runPrepared: gone.runPrepared })
    await spool.write(await issuedTo(id, 2))
    t.equal(await tokenSaver.takeUpSpool(), 1, 'the start does not fail')
    t.equal((await readdir(folder)).length, 1)
    await tokenSaver.close()
    await gone.close()
    t.equal((await readdir(folder)).length, 1, 'and nothing is lost')
  })

  t.notOk(
    logLines.some((line) => line.includes('FAKE-')),
    'no token is in the log',
  )
})
