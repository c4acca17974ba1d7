import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import type { Test } from 'tap'
import type { OpenDatabase } from '../../src/db/database.ts'
import { migrateToLatest } from '../../src/db/migrate.ts'
import { openDatabase } from '../../src/db/open.ts'
import { type Cluster, startCluster } from './postgres.ts'

const TEMPLATE = 'gtb_template'
const TEMPLATE_LOCK = 815_001

let ownCluster: Promise<Cluster> | undefined

/** The cluster of this test run (test/support/run.ts starts it), or one of this file's own when it runs alone. */
const clusterUrl = async (): Promise<string> => {
  const shared = process.env.TEST_CLUSTER_URL
  if (shared) return shared
  ownCluster ??= startCluster()
  return (await ownCluster).url
}

const withDatabase = (url: string, name: string): string =>
  Object.assign(new URL(url), { pathname: `/${name}` }).href

const withAdmin = async <Result>(
  url: string,
  work: (client: pg.Client) => Promise<Result>,
): Promise<Result> => {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

/** Migrates the template once a cluster; the files of a run wait for the first. */
const ensureTemplate = (url: string): Promise<void> =>
  withAdmin(url, async (client) => {
    await client.query('select pg_advisory_lock($1)', [TEMPLATE_LOCK])
    const { rowCount } = await client.query('select from pg_database where datname = $1', [TEMPLATE])
    if (rowCount === 0) {
      const draft = `${TEMPLATE}_draft`
      await client.query(`drop database if exists ${draft}`)
      await client.query(`create database ${draft}`)
      const database = openDatabase({ databaseUrl: withDatabase(url, draft), dataDir: '', poolSize: 1 })
      await migrateToLatest(database)
      await database.close()
      await client.query(`alter database ${draft} rename to ${TEMPLATE}`)
    }
    await client.query('select pg_advisory_unlock($1)', [TEMPLATE_LOCK])
  })

export type TestDatabase = OpenDatabase & { url: string }

/** A freshly migrated database of this test's own, on a real PostgreSQL. */
export const createTestDatabase = async (t: Test): Promise<TestDatabase> => {
  const url = await clusterUrl()
  await ensureTemplate(url)
  const name = `test_${randomBytes(8).toString('hex')}`
  await withAdmin(url, (client) => client.query(`create database ${name} template ${TEMPLATE}`))
  const databaseUrl = withDatabase(url, name)
  const database = openDatabase({ databaseUrl, dataDir: '', poolSize: 5 })
  t.teardown(async () => {
    await database.close()
    await withAdmin(url, (client) => client.query(`drop database if exists ${name} with (force)`))
  })
  return { ...database, url: databaseUrl }
}

/** The same on PGlite, in a folder of its own. */
export const createEmbeddedDatabase = async (t: Test): Promise<OpenDatabase> => {
  const dataDir = await mkdtemp(join(tmpdir(), 'gtb-embedded-'))
  const database = openDatabase({ databaseUrl: undefined, dataDir, poolSize: 1 })
  t.teardown(async () => {
    await database.close()
    await rm(dataDir, { recursive: true, force: true })
  })
  await migrateToLatest(database)
  return database
}

/** An empty database, without a schema. */
export const createEmptyDatabase = async (t: Test): Promise<TestDatabase> => {
  const url = await clusterUrl()
  const name = `empty_${randomBytes(8).toString('hex')}`
  await withAdmin(url, (client) => client.query(`create database ${name}`))
  const databaseUrl = withDatabase(url, name)
  const database = openDatabase({ databaseUrl, dataDir: '', poolSize: 2 })
  t.teardown(async () => {
    await database.close()
    await withAdmin(url, (client) => client.query(`drop database if exists ${name} with (force)`))
  })
  return { ...database, url: databaseUrl }
}

process.once('beforeExit', async () => {
  const cluster = ownCluster
  ownCluster = undefined
  if (cluster) await (await cluster).stop()
})
