import { measure, type Target } from './load.ts'
import { SCANNER_KEY, type Seeded } from './seed.ts'
import type { ServerProcess } from './server-process.ts'

export type Subject = 'a' | 'b' | 'c' | 'd' | 'e' | 'f'
/** Round by round; latencies in milliseconds. */
export type Throughput = { perSecond: number[]; p50: number[]; p99: number[]; errors: number }
export type ThroughputTable = Record<number, Partial<Record<Subject, Throughput>>>

export const NAMES: Record<Subject, string> = {
  a: 'bare Fastify, static JSON',
  b: 'bare Fastify, one prepared select',
  c: 'GET /v1/connections/{id}/credential',
  d: 'GET /v1/credentials?url=, URLs that come again',
  e: 'the same, URLs never asked for, in groups that were',
  f: '(c) with a line in the log for each request, as is the default (here into /dev/null)',
}

/** So many URLs that the reading of none is remembered when its turn comes again; their groups are. */
const PROJECTS = 40
const byUrl = ({ url, organization }: Pick<Seeded, 'url' | 'organization'>): string =>
  `/v1/credentials?organization=${organization}&url=${encodeURIComponent(url)}`

const byId = ({ origin }: ServerProcess, seeded: Seeded[]): Target => ({
  origin,
  key: SCANNER_KEY,
  paths: seeded.map(({ id }) => `/v1/connections/${id}/credential`),
})

export const yardsticksOf = ({ origin }: ServerProcess, seeded: Seeded[]): Record<'a' | 'b', Target> => ({
  a: { origin, paths: ['/static'] },
  b: { origin, paths: seeded.map(({ id }) => `/select/${id}`) },
})

export const loggingTargetsOf = (broker: ServerProcess, seeded: Seeded[]): Record<'f', Target> => ({
  f: byId(broker, seeded),
})

export const targetsOf = (broker: ServerProcess, seeded: Seeded[]): Record<'c' | 'd' | 'e', Target> => ({
  c: byId(broker, seeded),
  d: {
    origin: broker.origin,
    key: SCANNER_KEY,
    paths: seeded.map(byUrl),
  },
  e: {
    origin: broker.origin,
    key: SCANNER_KEY,
    paths: Array.from({ length: PROJECTS }, (_, number) =>
      seeded.map(({ url, organization }) => byUrl({ url: `${url}-${number}`, organization })),
    ).flat(),
  },
})

export const mergeThroughput = (all: Throughput[]): Throughput => ({
  perSecond: all.flatMap(({ perSecond }) => perSecond),
  p50: all.flatMap(({ p50 }) => p50),
  p99: all.flatMap(({ p99 }) => p99),
  errors: all.reduce((sum, { errors }) => sum + errors, 0),
})

export const mergeTables = (tables: ThroughputTable[]): ThroughputTable => {
  const [first = {}] = tables
  const merged: ThroughputTable = {}
  for (const [connections, subjects] of Object.entries(first))
    merged[Number(connections)] = Object.fromEntries(
      Object.keys(subjects).map((subject) => [
        subject,
        mergeThroughput(tables.map((table) => table[Number(connections)]![subject as Subject]!)),
      ]),
    )
  return merged
}

const WARM_UP_SECONDS = 2

/** Measures the subjects in turn, there and back, so that what else the machine does strikes all of them alike. */
export const measureThroughput = async (
  targets: Partial<Record<Subject, Target>>,
  { connections, rounds, seconds }: { connections: number[]; rounds: number; seconds: number },
): Promise<ThroughputTable> => {
  const table: ThroughputTable = {}
  const subjects = Object.entries(targets) as [Subject, Target][]
  for (const [, target] of subjects) await measure(target, 32, WARM_UP_SECONDS)
  for (const count of connections) {
    const measured: Partial<Record<Subject, Throughput>> = {}
    for (const [subject] of subjects) measured[subject] = { perSecond: [], p50: [], p99: [], errors: 0 }
    for (let round = 0; round < rounds; round += 1) {
      for (const [subject, target] of round % 2 === 0 ? subjects : subjects.toReversed()) {
        const { perSecond, p50, p99, errors } = await measure(target, count, seconds)
        const all = measured[subject]!
        all.perSecond.push(perSecond)
        all.p50.push(p50)
        all.p99.push(p99)
        all.errors += errors
      }
    }
    table[count] = measured
  }
  return table
}
