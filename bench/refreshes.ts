import type { BenchDatabase } from './database.ts'
import { EVERY_KEY } from './keys.ts'
import { measure } from './load.ts'
import type { Ended, Simulator } from './seed.ts'
import type { ServerProcess } from './server-process.ts'

/** Round by round; processor time in milliseconds of each refresh. */
export type Refreshes = {
  connections: number
  perSecond: number[]
  brokerCpuMs: number[]
  postgresCpuMs: number[]
  errors: number
}

const CONNECTIONS = 64
const MILLISECONDS = 1_000

/** Each lookup is one by id whose token is out, at a GitLab that answers at once. */
export const measureRefreshes = async (
  broker: ServerProcess,
  { database, simulator, ended }: { database: BenchDatabase; simulator: Simulator; ended: Ended },
  { rounds, seconds }: { rounds: number; seconds: number },
): Promise<Refreshes> => {
  const refreshes: Refreshes = {
    connections: CONNECTIONS,
    perSecond: [],
    brokerCpuMs: [],
    postgresCpuMs: [],
    errors: 0,
  }
  let turn = 0
  const target = {
    origin: broker.origin,
    pid: broker.pid,
    postmaster: database.postmaster,
    prepare: async () => {
      broker.truncateLog()
      await ended.endAgain()
    },
    next: () => {
      const id = ended.ids[turn % ended.ids.length]!
      turn += 1
      return { path: `/v1/connections/${id}/credential`, key: EVERY_KEY }
    },
  }
  const refreshed = () => simulator.world.events.filter(({ kind }) => kind === 'refreshed').length
  await measure(target, CONNECTIONS, seconds)
  for (let round = 0; round < rounds; round += 1) {
    await target.prepare()
    const before = refreshed()
    const { perSecond, errors, serverCpu, postgresCpu } = await measure(target, CONNECTIONS, seconds)
    const done = refreshed() - before
    if (done < perSecond * seconds - CONNECTIONS) throw new Error('Some lookups needed no refresh')
    refreshes.perSecond.push(perSecond)
    refreshes.brokerCpuMs.push(serverCpu / MILLISECONDS)
    refreshes.postgresCpuMs.push(postgresCpu / MILLISECONDS)
    refreshes.errors += errors
  }
  return refreshes
}
