import { measure, type Target } from './load.ts'
import { SCANNER_KEY, type Seeded } from './seed.ts'
import type { ServerProcess } from './server-process.ts'
import { type Spread, spread } from './stats.ts'

export type Subject = 'a' | 'b' | 'c' | 'd' | 'e'
export type Throughput = { perSecond: Spread; p50: Spread; p99: Spread; errors: number }
export type ThroughputTable = Record<number, Partial<Record<Subject, Throughput>>>

export const NAMES: Record<Subject, string> = {
  a: 'bare Fastify, static JSON',
  b: 'bare Fastify, one prepared select',
  c: 'GET /v1/connections/{id}/credential',
  d: 'GET /v1/credentials?url=, URLs that come again',
  e: 'the same, URLs never asked for, in groups that were',
}

/** So many URLs that the reading of none is remembered when its turn comes again; their groups are. */
const PROJECTS = 40
const byUrl = (url: string): string => `/v1/credentials?url=${encodeURIComponent(url)}`

export const targetsOf = (
  broker: ServerProcess,
  seeded: Seeded[],
  baseline?: ServerProcess,
): Partial<Record<Subject, Target>> => ({
  ...(baseline && {
    a: { origin: baseline.origin, paths: ['/static'] },
    b: { origin: baseline.origin, paths: seeded.map(({ id }) => `/select/${id}`) },
  }),
  c: {
    origin: broker.origin,
    key: SCANNER_KEY,
    paths: seeded.map(({ id }) => `/v1/connections/${id}/credential`),
  },
  d: {
    origin: broker.origin,
    key: SCANNER_KEY,
    paths: seeded.map(({ url }) => byUrl(url)),
  },
  e: {
    origin: broker.origin,
    key: SCANNER_KEY,
    paths: Array.from({ length: PROJECTS }, (_, number) =>
      seeded.map(({ url }) => byUrl(`${url}-${number}`)),
    ).flat(),
  },
})

/** Measures the subjects in turn, round by round, so that what else the machine does strikes all of them alike. */
export const measureThroughput = async (
  targets: Partial<Record<Subject, Target>>,
  { connections, rounds, seconds }: { connections: number[]; rounds: number; seconds: number },
): Promise<ThroughputTable> => {
  const table: ThroughputTable = {}
  const subjects = Object.entries(targets) as [Subject, Target][]
  for (const [, target] of subjects) await measure(target, 32, 1)
  for (const count of connections) {
    const results = new Map<Subject, Awaited<ReturnType<typeof measure>>[]>(
      subjects.map(([subject]) => [subject, []]),
    )
    for (let round = 0; round < rounds; round += 1) {
      for (const [subject, target] of subjects)
        results.get(subject)!.push(await measure(target, count, seconds))
    }
    table[count] = Object.fromEntries(
      [...results].map(([subject, all]) => [
        subject,
        {
          perSecond: spread(all.map(({ perSecond }) => perSecond)),
          p50: spread(all.map(({ p50 }) => p50)),
          p99: spread(all.map(({ p99 }) => p99)),
          errors: all.reduce((sum, { errors }) => sum + errors, 0),
        },
      ]),
    )
  }
  return table
}
