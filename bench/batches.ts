import { EVERY_KEY } from './keys.ts'
import type { Target } from './load.ts'
import { createScramble } from './random.ts'
import type { ServerProcess } from './server-process.ts'
import { measureThroughput, on, type Scene, type Throughput, targetsOf, warmUp } from './throughput.ts'

/** Many credentials at once beside single lookups: (g) and (h), of every connection in turn as (c). */

export const BATCH_SIZES = { g: 100, h: 1_000 } as const
const SINGLE_CONNECTIONS = 32
const BATCH_CONNECTIONS = 4
const CREDENTIALS_PER_SECOND = 60_000

/** Each credential counts: a call of (h) is a thousand. Latencies are those of a call. */
export type Batches = Record<'c' | keyof typeof BATCH_SIZES, Throughput>

const batchOf = (broker: ServerProcess, scene: Scene, size: number): Target => {
  const { ids } = scene.seeded
  const scramble = createScramble(ids.length)
  let turn = 0
  const nextId = () => {
    turn += 1
    return ids[scramble(turn)]!
  }
  const next = () => {
    const requests = Array.from({ length: size }, () => ({ connection_id: nextId() }))
    return { path: '/v1/credentials/batch', key: EVERY_KEY, body: JSON.stringify({ requests }) }
  }
  return { ...on(broker, scene, next), mostPerSecond: Math.ceil(CREDENTIALS_PER_SECOND / size) }
}

const perCredential = (calls: Throughput, size: number): Throughput => ({
  ...calls,
  perSecond: calls.perSecond.map((value) => value * size),
  serverCpu: calls.serverCpu.map((value) => value / size),
  postgresCpu: calls.postgresCpu.map((value) => value / size),
})

export const measureBatches = async (
  broker: ServerProcess,
  scene: Scene,
  plan: { rounds: number; seconds: number },
): Promise<Batches> => {
  const c = targetsOf(broker, scene).c
  const g = batchOf(broker, scene, BATCH_SIZES.g)
  const h = batchOf(broker, scene, BATCH_SIZES.h)
  await warmUp({ c, g, h })
  const single = await measureThroughput({ c }, { connections: [SINGLE_CONNECTIONS], ...plan })
  const batches = await measureThroughput({ g, h }, { connections: [BATCH_CONNECTIONS], ...plan })
  return {
    c: single[SINGLE_CONNECTIONS]!.c!,
    g: perCredential(batches[BATCH_CONNECTIONS]!.g!, BATCH_SIZES.g),
    h: perCredential(batches[BATCH_CONNECTIONS]!.h!, BATCH_SIZES.h),
  }
}
