// npm run bench [-- --quick]: every figure of one run, in bench/RESULTS.md and bench/results.json. --quick takes some two
// minutes, leaves (a) out, prints the ratios at 32 and 128 connections, and writes nothing.
import { writeFile } from 'node:fs/promises'
import { measureBatches } from './batches.ts'
import { measureColdStart } from './cold-start.ts'
import { createBenchDatabase } from './database.ts'
import { measureEmbedded } from './embedded.ts'
import { measureGrowth } from './growth.ts'
import { kindsOf } from './kinds.ts'
import { measureLimits } from './limits.ts'
import { measureRefreshes } from './refreshes.ts'
import { measureReplicas } from './replicas.ts'
import { type Results, ratiosOf, toMarkdown } from './report.ts'
import { seedEnded, seedFleet, seedLeases, seedSimulator } from './seed.ts'
import { startBroker, startServer } from './server-process.ts'
import { runStorm } from './storm.ts'
import { measureSynced } from './synced.ts'
import {
  measureThroughput,
  mergeTables,
  type ThroughputTable,
  targetsOf,
  warmUp,
  yardsticksOf,
} from './throughput.ts'
import { MASTER_KEY } from './vault.ts'

const quick = process.argv.includes('--quick')
const plan = quick
  ? { connections: [32, 128], starts: 1, rounds: 3, seconds: 1, coldStarts: 0, refreshRounds: 2 }
  : { connections: [1, 32, 128, 512], starts: 4, rounds: 2, seconds: 2, coldStarts: 4, refreshRounds: 5 }
const FLEET = 100_800
const LEASES = quick ? 200_000 : 1_000_000
const ENDED = 6_000
const REFRESH_SECONDS = 3

const say = (text: string) => process.stdout.write(`${text}\n`)

/** With servers started anew some times: what the compiler and the allocator make of a process differs from start to start. */
const measureLookups = async (): Promise<Results> => {
  const database = await createBenchDatabase()
  const gitlab = await seedSimulator(database.db)
  const { simulator } = gitlab
  const seeded = await seedFleet(database.db, FLEET)
  const ended = await seedEnded(database.db, gitlab, ENDED, seeded.fleet.organizations)
  await seedLeases(database.db, LEASES)
  await database.settle()
  const scene = { seeded, ended, database }
  const env = { DATABASE_URL: database.url, MASTER_KEY }
  const tables: ThroughputTable[] = []
  const peakMb: Results['peakMb'] = { broker: [], baseline: [] }
  try {
    for (let start = 0; start < plan.starts; start += 1) {
      say(`Lookups on PostgreSQL, start ${start + 1} of ${plan.starts} ...`)
      const baseline = await startServer('bench/baseline.ts', env, '/static')
      const broker = await startBroker(env)
      try {
        const { a, ...yardsticks } = yardsticksOf(baseline, scene)
        const targets = { ...(quick ? {} : { a }), ...yardsticks, ...targetsOf(broker, scene) }
        await warmUp(targets)
        tables.push(await measureThroughput(targets, plan))
        peakMb.broker.push(await broker.peakMb())
        peakMb.baseline.push(await baseline.peakMb())
      } finally {
        for (const server of [baseline, broker]) await server.stop()
      }
    }
    const broker = await startBroker(env)
    try {
      say('Refreshes ...')
      const options = { rounds: plan.refreshRounds, seconds: REFRESH_SECONDS }
      const refreshes = await measureRefreshes(broker, { database, simulator, ended }, options)
      const results: Results = { quick, postgresql: mergeTables(tables), peakMb, refreshes }
      if (quick) return results
      say('The mix by kind ...')
      const kinds = { c: targetsOf(broker, scene).c, ...kindsOf(broker, scene) }
      await warmUp(kinds)
      results.kinds = await measureThroughput(kinds, { connections: [32], rounds: 4, seconds: 2 })
      say('Limits ...')
      results.limits = await measureLimits(env, scene, { rounds: 8, seconds: 2 })
      say('Many at once ...')
      results.batches = await measureBatches(broker, scene, { rounds: 4, seconds: 2 })
      say('A million known projects ...')
      results.synced = await measureSynced(broker, scene, { rounds: 6, seconds: 2 })
      return results
    } finally {
      await broker.stop()
    }
  } finally {
    await simulator.close()
    await database.close()
  }
}

/** After each part: what was measured is not lost when a later part fails. */
const save = async (results: Results): Promise<void> => {
  const ratios = Object.fromEntries(
    Object.entries(ratiosOf(results)).map(([name, { median }]) => [name, median]),
  )
  await writeFile(new URL('RESULTS.md', import.meta.url), `# What was measured\n\n${toMarkdown(results)}`)
  await writeFile(
    new URL('results.json', import.meta.url),
    `${JSON.stringify({ ratios, results }, null, 2)}\n`,
  )
}

const results = await measureLookups()
const measurePart = async (title: string, measure: () => Promise<Partial<Results>>): Promise<void> => {
  await save(results)
  say(`${title} ...`)
  Object.assign(results, await measure())
}
if (!quick) {
  await measurePart('Cold start', async () => ({ coldStart: await measureColdStart(plan.coldStarts) }))
  await measurePart('Lookups on the embedded default', async () => ({
    embedded: await measureEmbedded({ connections: [1, 32, 128], rounds: 5, seconds: 2 }),
  }))
  await measurePart('Replicas', async () => ({
    replicas: await measureReplicas([1, 2, 3], { rounds: 7, seconds: 2 }),
  }))
  await measurePart('Storm', async () => ({
    storm: await runStorm({ connections: 10_000, scanners: 64, gitlabPerSecond: 500 }),
  }))
  await measurePart('Growth (a million connections take minutes to make)', async () => ({
    growth: await measureGrowth([1_000, 100_000, 1_000_000], { rounds: 7, seconds: 2 }),
  }))
  await save(results)
}
say(toMarkdown(results))
