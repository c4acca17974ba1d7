import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { isDatabaseUnavailable, type OpenDatabase } from '../../src/db/database.ts'
import { migrateToLatest } from '../../src/db/migrate.ts'
import { openDatabase } from '../../src/db/open.ts'
import { startTestBroker } from '../support/broker.ts'
import { until } from '../support/lifecycle.ts'
import { freePort, startCluster } from '../support/postgres.ts'

const open = (t: Test, databaseUrl: string): OpenDatabase => {
  const database = openDatabase({ databaseUrl, dataDir: '', poolSize: 4 })
  t.teardown(() => database.close())
  return database
}

/** One URL for several servers, the credentials of the first. */
const joinHosts = (...urls: string[]): string => {
  const [first = ''] = urls
  const { host } = new URL(first)
  return `${first.replace(host, urls.map((url) => new URL(url).host).join(','))}?target_session_attrs=read-write`
}

const portOf = async ({ db }: OpenDatabase): Promise<string> => {
  const { rows } = await sql<{ port: string }>`select inet_server_port()::text as port`.execute(db)
  return rows[0]!.port
}

/** Whether the standby has all that the primary has: it follows when it can. */
const hasFollowed = async ({ db }: OpenDatabase): Promise<boolean> => {
  const { rows } = await sql<{ followed: boolean | null }>`
    select bool_and(replay_lsn >= pg_current_wal_lsn()) as followed from pg_stat_replication`.execute(db)
  return rows[0]?.followed === true
}

t.test('a primary and its standby', async (t) => {
  const cluster = await startCluster()
  t.teardown(() => cluster.stop())
  const setup = openDatabase({ databaseUrl: cluster.url, dataDir: '', poolSize: 1 })
  await migrateToLatest(setup)
  await setup.close()
  const standby = await cluster.startStandby()
  t.teardown(() => standby.stop())
  const gone = Object.assign(new URL(cluster.url), { port: String(await freePort()) }).href
  const port = (url: string) => new URL(url).port

  await t.test('the standby is never taken for the primary, wherever it stands in the list', async (t) => {
    for (const urls of [
      [cluster.url, standby.url],
      [standby.url, cluster.url],
      [gone, standby.url, cluster.url],
    ]) {
      const database = open(t, joinHosts(...urls))
      t.equal(await portOf(database), port(cluster.url))
      t.same(
        await database.runPrepared({ name: 'port', text: 'select inet_server_port()::text as port' }, []),
        [{ port: port(cluster.url) }],
      )
    }
  })

  await t.test('a broker that is pointed at the standby alone says so', async (t) => {
    const database = open(t, standby.url)
    const failure = await portOf(database).then(
      () => undefined,
      (error: Error) => error,
    )
    t.ok(isDatabaseUnavailable(failure))
    t.match(failure?.message, `The database server 127.0.0.1:${port(standby.url)} is a standby (read-only)`)
    t.notMatch(failure?.message, new URL(standby.url).password)
  })

  await t.test('after a failover the new primary is found', async (t) => {
    const database = open(t, joinHosts(cluster.url, standby.url))
    const broker = await startTestBroker(t, { database })
    t.equal((await broker.get('/v1/instances')).status, 200)
    await until(() => hasFollowed(database))
    await cluster.halt('crash')
    t.match(await broker.get('/v1/instances'), { status: 503, body: { code: 'database_unavailable' } })
    const readiness = await broker.get('/readyz', { key: null })
    t.match(readiness, { status: 503, body: { code: 'database_unavailable' } })
    t.match(readiness.body.checks.slice(1, 3), [
      { name: 'database', outcome: 'ok' },
      { name: 'writable', outcome: 'failed', detail: /standby/ },
    ])
    await standby.promote()
    await until(async () => (await broker.get('/v1/instances')).status === 200)
    t.equal(await portOf(database), port(standby.url))
    const made = await broker.post('/v1/access-keys', { name: 'x', role: 'scanner', organizations: ['acme'] })
    t.equal(made.status, 201, 'and written to')
    t.equal((await broker.get('/readyz', { key: null })).status, 200)
  })
})

t.test('a connection to a server that becomes read-only is given up', async (t) => {
  const cluster = await startCluster()
  t.teardown(() => cluster.stop())
  const database = open(t, cluster.url)
  await migrateToLatest(database)
  await sql`set default_transaction_read_only = on`.execute(database.db)
  const write = () => sql`create table thing (size int)`.execute(database.db)
  await t.rejects(write(), { code: '25006' })
  await write()
})
