import t, { type Test } from 'tap'
import { SEEDED_APP } from '../simulator/seed.ts'
import { startSimulator } from '../simulator/simulator.ts'
import { type Asked, askPort, startBalancer } from './support/balancer.ts'
import { createTestDatabase } from './support/database.ts'
import { until } from './support/lifecycle.ts'
import { freePort } from './support/postgres.ts'
import { type MainProcess, startMain } from './support/process.ts'

const KEY = 'FAKE-admin-key-0123456789-0123456789'
const REPLICAS = ['one', 'two', 'three']
const LANES = 4
/** A load that a busy machine carries: what is overloaded refuses requests, and that is not the matter here. */
const PAUSE_MS = 25
const CONNECTIONS = 12

/** Connections at a GitLab, made through a broker. @returns their ids. */
const connectSome = async (t: Test, port: number): Promise<string[]> => {
  const { world, url: base_url, close } = await startSimulator({ repositories: false })
  t.teardown(close)
  const create = async (path: string, body: object): Promise<{ id: string }> => {
    const answer = await askPort(port, path, KEY, { method: 'POST', body })
    if (answer.status !== 201) throw new Error(answer.text)
    return JSON.parse(answer.text)
  }
  const instance = await create('/v1/instances', { base_url, allow_private_network: true })
  const { clientId, clientSecret } = SEEDED_APP
  const app = { slug: 'simulator', client_id: clientId, client_secret: clientSecret }
  await create('/v1/oauth-apps', { ...app, instance_id: instance.id })
  const ids: string[] = []
  for (let number = 0; number < CONNECTIONS; number += 1) {
    const username = `member-${number}`
    world.addUser({ username })
    const pair = world.issueOAuthToken({
      username,
      clientId,
      scopes: ['read_user', 'read_api', 'read_repository'],
    })
    const tokens = {
      access_token: pair.accessToken,
      refresh_token: pair.refreshToken,
      oauth_app: 'simulator',
    }
    ids.push((await create('/v1/connections/oauth-token', { organization: 'acme', base_url, ...tokens })).id)
  }
  return ids
}

t.test('three replicas are restarted one after the other under load, and no request fails', async (t) => {
  const { url } = await createTestDatabase(t)
  const folder = t.testdir(Object.fromEntries(REPLICAS.map((name) => [name, {}])))
  const ports = await Promise.all(REPLICAS.map(freePort))
  const start = async (index: number): Promise<MainProcess> => {
    const broker = startMain(t, {
      DATA_DIR: `${folder}/${REPLICAS[index]}`,
      DATABASE_URL: url,
      PORT: String(ports[index]),
      HOST: '127.0.0.1',
      MASTER_KEY: Buffer.alloc(32, 1).toString('base64'),
      BOOTSTRAP_ADMIN_KEY: KEY,
      // Longer than a busy machine takes to notice that a replica is not ready.
      SHUTDOWN_DELAY_SECONDS: '4',
    })
    await broker.listening()
    return broker
  }
  const brokers = await Promise.all(REPLICAS.map((_, index) => start(index)))
  const ids = await connectSome(t, ports[0]!)
  const balancer = startBalancer(ports, KEY, LANES)

  const failures: string[] = []
  let going = true
  let served = 0
  const demand = async (turn: number, status: number, path: string, asked?: Asked): Promise<string> => {
    const answer = await balancer
      .send(turn, path, asked)
      .catch((error: Error) => ({ status: 0, text: error.message }))
    if (answer.status === status) served += 1
    else failures.push(`${path}: ${answer.status} ${answer.text}`)
    return answer.text
  }
  const lane = async (index: number) => {
    for (let turn = index; going; turn += 1) {
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
      const credential = await demand(turn, 200, `/v1/connections/${ids[turn % ids.length]}/credential`)
      if (failures.length > 0) return
      await demand(turn + 1, 204, `/v1/leases/${JSON.parse(credential).lease_id}`, { method: 'DELETE' })
      // A change that asks GitLab: what is under way is waited for.
      if (turn % 40 === index)
        await demand(turn, 200, `/v1/connections/${ids[index]}/refresh?on_conflict=preempt`, {
          method: 'POST',
        })
    }
  }
  const running = Promise.all(Array.from({ length: LANES }, (_, index) => lane(index)))
  for (const [index, port] of ports.entries()) {
    t.match(await brokers[index]!.stop(), { code: 0, errors: '' })
    await start(index)
    await until(() => balancer.ready.has(port))
  }
  going = false
  await running
  await balancer.stop()
  t.same(failures, [], `${served} requests were served`)
  t.ok(served > 100)
})
