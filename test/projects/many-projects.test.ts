import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'kysely'
import t from 'tap'
import { startSimulator } from '../../simulator/simulator.ts'
import { ADMIN_KEY, MASTER_KEY } from '../support/broker.ts'
import { SCANNER_SCOPES } from '../support/connect.ts'
import { createTestDatabase } from '../support/database.ts'
import { freePort } from '../support/postgres.ts'
import { type MainProcess, startMain } from '../support/process.ts'

/** Half a minute where nothing else runs. */
t.setTimeout(900_000)

const PROJECTS = 100_000
const PER_PAGE = 100
/** The page under way when a broker is killed is read again. */
const KILLED_AT = [25_000, 60_000]
/** What a process has taken for its work once it has read as many. */
const WARM_AFTER = 5_000
/** 100,000 projects do not fit: a broker that kept them would end. */
const HEAP_MB = 112
const MOST_GROWTH_MB = 150
const POLL_MS = 50
const BYTES_IN_KB = 1024

type Answer = { id: string; state: string; projects_read: number }

/** Resident memory in MB. */
const memoryOf = async (pid: number): Promise<number> => {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / BYTES_IN_KB
}

t.test('100,000 projects are read by brokers that are killed on the way', async (t) => {
  const simulator = await startSimulator({ repositories: false })
  t.teardown(() => simulator.close())
  simulator.world.addGroup({ fullPath: 'huge', members: ['tom'] })
  simulator.world.people.addProjects('huge', PROJECTS)
  const { token } = simulator.world.createAccessToken({
    kind: 'personal',
    username: 'tom',
    scopes: SCANNER_SCOPES,
  })
  const { db, url: databaseUrl } = await createTestDatabase(t)
  const dataDir = t.testdir({})

  const start = async () => {
    const port = await freePort()
    const env = {
      DATABASE_URL: databaseUrl,
      DATA_DIR: dataDir,
      PORT: String(port),
      HOST: '127.0.0.1',
      MASTER_KEY: Buffer.from(MASTER_KEY).toString('base64'),
      BOOTSTRAP_ADMIN_KEY: ADMIN_KEY,
    }
    const broker = startMain(t, env, { nodeArgs: [`--max-old-space-size=${HEAP_MB}`] })
    await broker.listening()
    const call = async (method: string, path: string, body?: object) => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${ADMIN_KEY}`,
          ...(body ? { 'content-type': 'application/json' } : {}),
        },
        ...(body ? { body: JSON.stringify(body) } : {}),
      })
      return { status: response.status, body: (await response.json()) as Answer }
    }
    return { broker, call }
  }
  type Call = Awaited<ReturnType<typeof start>>['call']
  let growth = 0
  let peak = 0
  /** Until the run has read as many projects, or ended. */
  const readUntil = async (broker: MainProcess, call: Call, id: string, projects: number) => {
    let warm: number | undefined
    let first: number | undefined
    t.equal((await call('POST', `/v1/connections/${id}/sync`)).status, 202)
    for (;;) {
      const { body } = await call('GET', `/v1/connections/${id}/sync`)
      const memory = await memoryOf(broker.pid)
      peak = Math.max(peak, memory)
      first ??= body.projects_read
      if (body.projects_read >= first + WARM_AFTER) warm ??= memory
      if (warm !== undefined) growth = Math.max(growth, memory - warm)
      if (body.projects_read >= projects || body.state !== 'running') return body
      await sleep(POLL_MS)
    }
  }

  let { broker, call } = await start()
  await call('POST', '/v1/instances', { base_url: simulator.url, allow_private_network: true })
  const connected = await call('POST', '/v1/connections/personal-access-token', {
    organization: 'acme',
    base_url: simulator.url,
    token,
  })
  t.equal(connected.status, 201)
  const { id } = connected.body
  simulator.requests.clear()
  const begun = performance.now()
  for (const projects of KILLED_AT) {
    const body = await readUntil(broker, call, id, projects)
    t.equal(body.state, 'running')
    broker.kill('SIGKILL')
    await broker.ended
    // The claim of the killed broker ends by itself; a minute later is now.
    await sql`update connection_syncs set attempt_deadline = now() where connection_id = ${id}`.execute(db)
    ;({ broker, call } = await start())
  }
  const done = await readUntil(broker, call, id, Number.POSITIVE_INFINITY)
  const seconds = (performance.now() - begun) / 1000
  const reached = PROJECTS + 4
  t.match(done, { state: 'done', kind: 'full', projects: reached, projects_read: reached, error: null })

  const { rows } = await sql<{ known: number; distinct: number; paths: number; missing: number }>`
    select count(*)::int as known, count(distinct project_id)::int as distinct,
      count(missing_since)::int as missing, (select count(*)::int from connection_project_paths) as paths
    from connection_projects where connection_id = ${id}`.execute(db)
  t.same(rows[0], { known: reached, distinct: reached, paths: reached, missing: 0 }, 'each once')
  const pages = Math.ceil(reached / PER_PAGE)
  const calls = simulator.requests.count({ path: '/api/v4/projects' })
  // The last one is empty.
  t.ok(calls <= pages + 1 + KILLED_AT.length, `${calls} calls for ${pages} pages`)
  t.ok(growth < MOST_GROWTH_MB, `memory grew by ${growth.toFixed(0)} MB at the most`)
  t.comment(
    `${reached} projects, ${calls} calls, ${simulator.requests.count()} of all kinds, ${seconds.toFixed(0)} s, memory + ${growth.toFixed(0)} MB to ${peak.toFixed(0)} MB`,
  )
  await broker.stop()
})
