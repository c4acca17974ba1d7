// npm run bench [-- --quick]: every figure of one run, in bench/RESULTS.md and bench/results.json.
import { writeFile } from 'node:fs/promises'
import { measureColdStart } from './cold-start.ts'
import { createBenchDatabase } from './database.ts'
import { measureEmbedded } from './embedded.ts'
import { measureGrowth } from './growth.ts'
import { measureReplicas } from './replicas.ts'
import { type Results, ratiosOf, toMarkdown } from './report.ts'
import { MASTER_KEY, seedConnections } from './seed.ts'
import { startServer } from './server-process.ts'
import { runStorm } from './storm.ts'
import {
  loggingTargetsOf,
  measureThroughput,
  mergeTables,
  type ThroughputTable,
  targetsOf,
  yardsticksOf,
} from './throughput.ts'

const quick = process.argv.includes('--quick')
const plan = quick
  ? { connections: [1, 32, 128], starts: 1, rounds: 2, seconds: 2, coldStarts: 2 }
  : { connections: [1, 32, 128], starts: 4, rounds: 2, seconds: 2, coldStarts: 4 }

const say = (text: string) => process.stdout.write(`${text}\n`)

const startServers = async (databaseUrl: string) => {
  const env = { DATABASE_URL: databaseUrl, MASTER_KEY, LOG_LEVEL: 'error' }
  const baseline = await startServer('bench/baseline.ts', env, '/static')
  const broker = await startServer('src/main.ts', env, '/readyz')
  const logging = await startServer('src/main.ts', { ...env, LOG_LEVEL: 'info' }, '/readyz')
  return { baseline, broker, logging }
}

/** With servers started anew some times: what the compiler and the allocator make of a process differs from start to start. */
const measureLookups = async () => {
  const database = await createBenchDatabase()
  const seeded = await seedConnections(database.db, 1_000, 1_000)
  await database.settle()
  const tables: ThroughputTable[] = []
  const rssMb: Results['rssMb'] = { broker: [], baseline: [] }
  try {
    for (let start = 0; start < plan.starts; start += 1) {
      const { baseline, broker, logging } = await startServers(database.url)
      const targets = {
        ...yardsticksOf(baseline, seeded),
        ...targetsOf(broker, seeded),
        ...loggingTargetsOf(logging, seeded),
      }
      try {
        tables.push(await measureThroughput(targets, plan))
        rssMb.broker.push(await broker.rssMb())
        rssMb.baseline.push(await baseline.rssMb())
      } finally {
        for (const server of [baseline, broker, logging]) await server.stop()
      }
    }
  } finally {
    await database.close()
  }
  return { postgresql: mergeTables(tables), rssMb }
}

say('Lookups on PostgreSQL ...')
const results: Results = { quick, ...(await measureLookups()) }
say('Cold start ...')
results.coldStart = await measureColdStart(plan.coldStarts)
if (!quick) {
  say('Lookups on the embedded default ...')
  results.embedded = await measureEmbedded({ ...plan, rounds: 5 })
  say('Replicas ...')
  results.replicas = await measureReplicas([1, 2, 3], { rounds: 7, seconds: 2 })
  say('Storm ...')
  results.storm = await runStorm({ connections: 10_000, scanners: 64, gitlabPerSecond: 500 })
  say('Growth (a million rows take minutes to make) ...')
  results.growth = await measureGrowth([1_000, 100_000, 1_000_000], { rounds: 7, seconds: 2 })
}

const ratios = Object.fromEntries(
  Object.entries(ratiosOf(results)).map(([name, { median }]) => [name, median]),
)
say(toMarkdown(results))
if (!quick) {
  await writeFile(new URL('RESULTS.md', import.meta.url), `# What was measured\n\n${toMarkdown(results)}`)
  await writeFile(
    new URL('results.json', import.meta.url),
    `${JSON.stringify({ ratios, results }, null, 2)}\n`,
  )
}
