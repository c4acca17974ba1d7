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
import { measureThroughput, targetsOf } from './throughput.ts'

const quick = process.argv.includes('--quick')
const plan = quick
  ? { connections: [1, 32, 128], rounds: 2, seconds: 2, coldStarts: 2 }
  : { connections: [1, 32, 128], rounds: 5, seconds: 3, coldStarts: 4 }

const say = (text: string) => process.stdout.write(`${text}\n`)

const measureLookups = async () => {
  const database = await createBenchDatabase()
  const seeded = await seedConnections(database.db, 1_000, 1_000)
  await database.settle()
  const env = { DATABASE_URL: database.url, MASTER_KEY, LOG_LEVEL: 'error' }
  const baseline = await startServer('bench/baseline.ts', env, '/static')
  const broker = await startServer('src/main.ts', env, '/readyz')
  try {
    const postgresql = await measureThroughput(targetsOf(broker, seeded, baseline), plan)
    return { postgresql, rssMb: { broker: await broker.rssMb(), baseline: await baseline.rssMb() } }
  } finally {
    await broker.stop()
    await baseline.stop()
    await database.close()
  }
}

say('Lookups on PostgreSQL ...')
const results: Results = { quick, ...(await measureLookups()) }
say('Cold start ...')
results.coldStart = await measureColdStart(plan.coldStarts)
if (!quick) {
  say('Lookups on the embedded default ...')
  results.embedded = await measureEmbedded(plan)
  say('Replicas ...')
  results.replicas = await measureReplicas([1, 2, 3], { rounds: 3, seconds: 4 })
  say('Storm ...')
  results.storm = await runStorm({ connections: 10_000, scanners: 64, gitlabPerSecond: 500 })
  say('Growth (a million rows take minutes to make) ...')
  results.growth = await measureGrowth([1_000, 100_000, 1_000_000], { rounds: 4, seconds: 3 })
}

const ratios = ratiosOf(results)
say(toMarkdown(results))
if (!quick) {
  await writeFile(new URL('RESULTS.md', import.meta.url), `# What was measured\n\n${toMarkdown(results)}`)
  await writeFile(
    new URL('results.json', import.meta.url),
    `${JSON.stringify({ ratios, results }, null, 2)}\n`,
  )
}
