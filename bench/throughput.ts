import type { BenchDatabase } from './database.ts'
import { EVERY_KEY } from './keys.ts'
import { askEach, measure, type Request, type Target } from './load.ts'
import { createMix, firstLookupsOf, type Lookup, lookupOfConnection } from './mix.ts'
import { createScramble } from './random.ts'
import type { Ended, SeededFleet } from './seed.ts'
import type { ServerProcess } from './server-process.ts'

export type Subject = 'a' | 'b' | 'bb' | 'bl' | 'c' | 'd' | 'm'
/** Round by round; latencies in milliseconds, processor time in microseconds of each lookup. */
export type Throughput = {
  perSecond: number[]
  p50: number[]
  p99: number[]
  serverCpu: number[]
  postgresCpu: number[]
  errors: number
}
export type ThroughputTable = Record<number, Partial<Record<string, Throughput>>>

export const NAMES: Record<Subject, string> = {
  a: 'bare Fastify, static JSON',
  b: 'bare Fastify, one prepared select each',
  bb: 'bare Fastify, the same select, coalesced and pipelined as ours',
  bl: 'the same, the lease written, the token opened, a line logged',
  c: 'GET /v1/connections/{id}/credential',
  d: 'GET /v1/credentials?url=, https, one key for all',
  m: 'the realistic mix',
}

/** What is asked for, whichever server answers. */
export type Scene = {
  seeded: SeededFleet
  ended?: Ended | undefined
  database?: BenchDatabase | undefined
}

/** All connections in turn, neighbours far apart. */
const walk = (count: number, toRequest: (connection: number) => Request): (() => Request) => {
  const scramble = createScramble(count)
  let turn = 0
  return () => {
    turn += 1
    return toRequest(scramble(turn))
  }
}

const SEED = 15
/** More than any broker answers, and fewer to draw than REQUESTS_PER_SECOND. */
const MOST_LOOKUPS_PER_SECOND = 30_000

export const on = (server: ServerProcess, { database }: Scene, next: () => Request): Target => ({
  origin: server.origin,
  pid: server.pid,
  postmaster: database?.postmaster,
  next,
  prepare: async () => server.truncateLog(),
})

const onBroker = (broker: ServerProcess, scene: Scene, next: () => Request): Target => ({
  ...on(broker, scene, next),
  mostPerSecond: MOST_LOOKUPS_PER_SECOND,
})

export const yardsticksOf = (
  server: ServerProcess,
  scene: Scene,
): Record<'a' | 'b' | 'bb' | 'bl', Target> => {
  const { ids } = scene.seeded
  const select = (route: string) =>
    walk(ids.length, (connection) => ({ path: `/${route}/${ids[connection]}`, key: '' }))
  return {
    a: on(server, scene, () => ({ path: '/static', key: '' })),
    b: on(server, scene, select('select')),
    bb: on(server, scene, select('select-shared')),
    bl: on(server, scene, select('lease')),
  }
}

/** @param wanted which lookups of the mix; all when left out. */
export const mixOf = (broker: ServerProcess, scene: Scene, wanted?: (lookup: Lookup) => boolean): Target => {
  const { seeded, ended } = scene
  const draw = createMix(seeded.fleet, ended?.connections ?? [], SEED)
  const next = (): Request => {
    for (;;) {
      const lookup = draw()
      if (!wanted || wanted(lookup)) return lookup
    }
  }
  return {
    ...onBroker(broker, scene, next),
    first: () => firstLookupsOf(seeded.fleet, SEED).filter((lookup) => wanted?.(lookup) ?? true),
    async prepare() {
      broker.truncateLog()
      await ended?.endAgain()
    },
  }
}

export const targetsOf = (broker: ServerProcess, scene: Scene): Record<'c' | 'd' | 'm', Target> => {
  const { fleet, ids } = scene.seeded
  return {
    c: onBroker(
      broker,
      scene,
      walk(ids.length, (connection) => ({
        path: `/v1/connections/${ids[connection]}/credential`,
        key: EVERY_KEY,
      })),
    ),
    d: onBroker(
      broker,
      scene,
      walk(ids.length, (connection) => ({ path: lookupOfConnection(fleet, connection), key: EVERY_KEY })),
    ),
    m: mixOf(broker, scene),
  }
}

const emptyThroughput = (): Throughput => ({
  perSecond: [],
  p50: [],
  p99: [],
  serverCpu: [],
  postgresCpu: [],
  errors: 0,
})

export const mergeThroughput = (all: Throughput[]): Throughput => ({
  perSecond: all.flatMap(({ perSecond }) => perSecond),
  p50: all.flatMap(({ p50 }) => p50),
  p99: all.flatMap(({ p99 }) => p99),
  serverCpu: all.flatMap(({ serverCpu }) => serverCpu),
  postgresCpu: all.flatMap(({ postgresCpu }) => postgresCpu),
  errors: all.reduce((sum, { errors }) => sum + errors, 0),
})

export const mergeTables = (tables: ThroughputTable[]): ThroughputTable => {
  const [first = {}] = tables
  const merged: ThroughputTable = {}
  for (const [connections, subjects] of Object.entries(first))
    merged[Number(connections)] = Object.fromEntries(
      Object.keys(subjects).map((subject) => [
        subject,
        mergeThroughput(tables.map((table) => table[Number(connections)]![subject]!)),
      ]),
    )
  return merged
}

const WARM_UP_SECONDS = 2
/** Until the compiler is done with the broker. */
const WARM_UP_SECONDS_OF_MIX = 8
const WARM_UP_CONNECTIONS = 32

export const warmUp = async (targets: Partial<Record<string, Target>>): Promise<void> => {
  for (const [subject, target] of Object.entries(targets)) {
    if (target?.first) await askEach(target.origin, target.first())
    const seconds = subject === 'm' ? WARM_UP_SECONDS_OF_MIX : WARM_UP_SECONDS
    await measure(target!, WARM_UP_CONNECTIONS, seconds)
  }
}

/** Measures the subjects in turn, there and back, so that what else the machine does strikes all of them alike. */
export const measureThroughput = async (
  targets: Partial<Record<string, Target>>,
  { connections, rounds, seconds }: { connections: number[]; rounds: number; seconds: number },
): Promise<ThroughputTable> => {
  const table: ThroughputTable = {}
  const subjects = Object.entries(targets) as [string, Target][]
  for (const count of connections) {
    const measured: Record<string, Throughput> = {}
    for (const [subject] of subjects) measured[subject] = emptyThroughput()
    for (let round = 0; round < rounds; round += 1) {
      for (const [subject, target] of round % 2 === 0 ? subjects : subjects.toReversed()) {
        const { errors, ...figures } = await measure(target, count, seconds)
        const all = measured[subject]!
        for (const [name, figure] of Object.entries(figures)) all[name as keyof typeof figures].push(figure)
        all.errors += errors
      }
    }
    table[count] = measured
  }
  return table
}
