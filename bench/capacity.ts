// node bench/capacity.ts [lookups a second] [days that leases are kept]: what a lookup costs PostgreSQL, measured
// here and now, and what that makes of a day.
import { sql } from 'kysely'
import { createBenchDatabase } from './database.ts'
import { measure } from './load.ts'
import { seedFleet } from './seed.ts'
import { startBroker } from './server-process.ts'
import { targetsOf } from './throughput.ts'
import { MASTER_KEY } from './vault.ts'

const [perSecondText = '1000', daysText = '90'] = process.argv.slice(2)
const perSecond = Number(perSecondText)
const days = Number(daysText)
if (!(perSecond > 0) || !(days > 0))
  throw new Error('Usage: node bench/capacity.ts [lookups a second] [days]')

const DAY_SECONDS = 86_400
const SECONDS = 5
const GIGABYTE = 2 ** 30

type Counters = { wal: string; commits: string; leases: string; table: string; indexes: string }

const database = await createBenchDatabase()
const seeded = await seedFleet(database.db, 10_000)
await database.settle()
const broker = await startBroker({ DATABASE_URL: database.url, MASTER_KEY })

const read = async (): Promise<Counters> => {
  const { rows } = await sql<Counters>`
    select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') as wal,
      (select sum(xact_commit) from pg_stat_database) as commits,
      (select count(*) from leases) as leases,
      pg_table_size('leases') as table, pg_indexes_size('leases') as indexes
  `.execute(database.db)
  return rows[0]!
}

const rows: string[] = []
try {
  const target = targetsOf(broker, { seeded, database }).c
  for (const connections of [1, 8, 32, 128]) {
    await measure(target, connections, 1)
    const before = await read()
    await measure(target, connections, SECONDS)
    // Statistics reach the view with a delay of up to a second.
    await sql`select pg_stat_force_next_flush()`.execute(database.db)
    const after = await read()
    const lookups = Number(after.leases) - Number(before.leases)
    const each = (name: keyof Counters) => (Number(after[name]) - Number(before[name])) / lookups
    const bytes = each('table') + each('indexes')
    rows.push(
      [
        connections,
        Math.round(lookups / SECONDS),
        each('commits').toFixed(3),
        Math.round(each('wal')),
        Math.round(bytes),
        ((each('wal') * perSecond * DAY_SECONDS) / GIGABYTE).toFixed(1),
        ((bytes * perSecond * DAY_SECONDS * days) / GIGABYTE).toFixed(0),
      ].join(' | '),
    )
  }
} finally {
  await broker.stop()
  await database.close()
}

process.stdout.write(`
The last two columns: at ${perSecond} lookups a second, leases kept for ${days} days.

| connections | lookups/s here | commits each | WAL bytes each | lease bytes each | WAL GiB a day | leases GiB |
| --- | --- | --- | --- | --- | --- | --- |
${rows.map((row) => `| ${row} |`).join('\n')}
`)
