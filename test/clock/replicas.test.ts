import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { SEEDED_APP } from '../../simulator/seed.ts'
import { startSimulator } from '../../simulator/simulator.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { until } from '../support/lifecycle.ts'
import { freePort } from '../support/postgres.ts'
import { startMain } from '../support/process.ts'

const SHIFTED_CLOCK = new URL('../support/shifted-clock.ts', import.meta.url).href
const BOOTSTRAP_ADMIN_KEY = 'FAKE-admin-key-0123456789-0123456789'

/** A replica of its own process, on a machine whose wall clock is wrong. */
const startReplica = async (t: Test, { url }: Pick<TestDatabase, 'url'>, shiftSeconds: number) => {
  const port = await freePort()
  const replica = startMain(
    t,
    {
      DATA_DIR: t.testdir({}),
      DATABASE_URL: url,
      HOST: '127.0.0.1',
      PORT: String(port),
      MASTER_KEY: Buffer.alloc(32, 1).toString('base64'),
      BOOTSTRAP_ADMIN_KEY,
      CLOCK_SHIFT_MS: String(shiftSeconds * 1000),
    },
    { nodeArgs: ['--import', SHIFTED_CLOCK] },
  )
  await replica.listening()
  const request = async (method: string, path: string, body?: object) => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${BOOTSTRAP_ADMIN_KEY}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
    })
    const text = await answer.text()
    return { status: answer.status, text, body: text === '' ? undefined : JSON.parse(text) }
  }
  return { ...replica, request }
}

type Replica = Awaited<ReturnType<typeof startReplica>>

/** A GitLab that keeps the right time, and one connection to it. */
const connectTo = async (t: Test, { request }: Replica, accessTokenLifetimeSeconds: number) => {
  const simulator = await startSimulator({ repositories: false, accessTokenLifetimeSeconds })
  t.teardown(() => simulator.close())
  const instance = await request('POST', '/v1/instances', {
    base_url: simulator.url,
    allow_private_network: true,
  })
  await request('POST', '/v1/oauth-apps', {
    slug: 'simulator',
    instance_id: instance.body.id,
    client_id: SEEDED_APP.clientId,
    client_secret: SEEDED_APP.clientSecret,
  })
  const issued = simulator.world.issueOAuthToken({
    username: 'maria',
    clientId: SEEDED_APP.clientId,
    scopes: ['read_user', 'read_api', 'read_repository'],
  })
  const connection = await request('POST', '/v1/connections/oauth-token', {
    organization: 'acme',
    base_url: simulator.url,
    access_token: issued.accessToken,
    refresh_token: issued.refreshToken,
    oauth_app: 'simulator',
  })
  t.equal(connection.status, 201, connection.text)
  return { simulator, id: connection.body.id as string }
}

t.test('replicas whose clocks are ten minutes apart judge by one: the database’s', async (t) => {
  const database = await createTestDatabase(t)
  const [ahead, behind] = await Promise.all([startReplica(t, database, 300), startReplica(t, database, -300)])
  const { id, simulator } = await connectTo(t, ahead, 7_200)

  await t.test('each says that its machine is wrong', async (t) => {
    for (const [replica, detail] of [
      [ahead, /30\d(\.\d)? s ahead of/],
      [behind, /(299|30\d)(\.\d)? s behind/],
    ] as const) {
      const { status, body } = await replica.request('GET', '/readyz')
      t.match({ status, code: body.code }, { status: 503, code: 'not_ready' })
      const clock = body.checks.find(({ name }: { name: string }) => name === 'clock')
      t.match(clock, { outcome: 'failed', detail })
      await replica.said(/"level":"warn".*the clock of this machine differs from that of the database/)
    }
  })

  await t.test('a lease of the one protects the token from the other', async (t) => {
    const leased = await behind.request('GET', `/v1/connections/${id}/credential?min_ttl=60`)
    t.equal(leased.status, 200, leased.text)
    const refreshed = await ahead.request('POST', `/v1/connections/${id}/refresh`)
    t.match(refreshed, { status: 409, body: { code: 'token_in_use' } }, refreshed.text)
    t.equal(simulator.world.tokenState(leased.body.token), 'active')
    t.equal((await behind.request('DELETE', `/v1/leases/${leased.body.lease_id}`)).status, 204)
    t.equal((await ahead.request('POST', `/v1/connections/${id}/refresh`)).status, 200)
  })

  await t.test('what they write is of the same time', async (t) => {
    for (const replica of [ahead, behind])
      t.equal((await replica.request('GET', `/v1/connections/${id}/credential`)).status, 200)
    const { rows } = await sql<{ off: number }>`
      select abs(date_part('epoch', now() - granted_at)) as off from leases
      union all select abs(date_part('epoch', now() - updated_at)) from connections`.execute(database.db)
    t.ok(rows.length >= 4)
    for (const { off } of rows) t.ok(off < 60, `${off} s`)
  })
})

t.test('a replica whose clock is set back an hour hands out no dead token', async (t) => {
  const database = await createTestDatabase(t)
  const replica = await startReplica(t, database, 0)
  const lifetime = 8
  const { id, simulator } = await connectTo(t, replica, lifetime)
  t.equal((await replica.request('GET', '/readyz')).status, 200)
  replica.kill('SIGUSR2')
  await replica.said(/the clock was set back/)
  t.match((await replica.request('GET', '/readyz')).body, { code: 'not_ready' })
  const end = performance.now() + 2 * lifetime * 1000
  const handedOut = new Set<string>()
  await until(async () => {
    const { status, body } = await replica.request('GET', `/v1/connections/${id}/credential`)
    if (status === 200) {
      handedOut.add(body.token)
      t.equal(simulator.world.tokenState(body.token), 'active')
      await replica.request('DELETE', `/v1/leases/${body.lease_id}`)
    }
    return performance.now() > end
  })
  t.ok(handedOut.size >= 2, `${handedOut.size} tokens in ${2 * lifetime} s`)
})

t.test('a database that moves to a server with another clock is followed', async (t) => {
  const database = await createTestDatabase(t)
  const replica = await startReplica(t, database, 0)
  // What a failover brings: connections that end, and then another clock. 45 s is more than a lease of this test.
  await sql`create schema other`.execute(database.db)
  await sql`create function other.clock_timestamp() returns timestamptz language sql
    as $$ select pg_catalog.clock_timestamp() + interval '45 s' $$`.execute(database.db)
  const name = new URL(database.url).pathname.slice(1)
  await sql.raw(`alter database ${name} set search_path = other, pg_catalog, public`).execute(database.db)
  await sql`select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()`.execute(database.db)
  await until(async () => {
    const { body } = await replica.request('GET', '/readyz')
    return body.checks.some(
      ({ name, detail }: { name: string; detail: string }) =>
        name === 'clock' && /45(\.\d)? s behind/.test(detail),
    )
  })
  const made = await replica.request('POST', '/v1/access-keys', {
    name: 'x',
    role: 'scanner',
    organizations: ['acme'],
  })
  t.equal(made.status, 201)
  const ahead = (Date.parse(made.body.created_at) - Date.now()) / 1000
  t.ok(ahead > 40 && ahead < 46, `${ahead} s ahead, as the database`)
})
