import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createBenchDatabase } from './database.ts'
import { startBroker } from './server-process.ts'
import { type Spread, spread } from './stats.ts'
import { MASTER_KEY } from './vault.ts'

export type ColdStart = Record<'postgresql' | 'embedded, first start' | 'embedded, later start', Spread>

/** From the start of the process to the first good answer of /readyz, in milliseconds. */
export const measureColdStart = async (rounds: number): Promise<ColdStart> => {
  const database = await createBenchDatabase()
  const times: Record<keyof ColdStart, number[]> = {
    postgresql: [],
    'embedded, first start': [],
    'embedded, later start': [],
  }
  const start = async (env: Record<string, string>) => {
    const server = await startBroker(env)
    await server.stop()
    return server.readyMs
  }
  try {
    for (let round = 0; round < rounds; round += 1) {
      times.postgresql.push(await start({ DATABASE_URL: database.url, MASTER_KEY }))
      const folder = await mkdtemp(join(tmpdir(), 'gtb-bench-'))
      times['embedded, first start'].push(await start({ DATA_DIR: folder }))
      times['embedded, later start'].push(await start({ DATA_DIR: folder }))
      await rm(folder, { recursive: true, force: true })
    }
  } finally {
    await database.close()
  }
  return {
    postgresql: spread(times.postgresql),
    'embedded, first start': spread(times['embedded, first start']),
    'embedded, later start': spread(times['embedded, later start']),
  }
}
