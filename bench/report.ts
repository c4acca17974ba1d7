import { availableParallelism, cpus, totalmem } from 'node:os'
import type { ColdStart } from './cold-start.ts'
import type { GrowthRow } from './growth.ts'
import type { ReplicaRow } from './replicas.ts'
import { ratioOf, type Spread, spread } from './stats.ts'
import type { Storm } from './storm.ts'
import { NAMES, type Subject, type Throughput, type ThroughputTable } from './throughput.ts'

export type Results = {
  quick: boolean
  postgresql: ThroughputTable
  /** After the load, of each start. */
  rssMb: { broker: number[]; baseline: number[] }
  coldStart?: ColdStart
  embedded?: ThroughputTable
  replicas?: ReplicaRow[]
  storm?: Storm
  growth?: GrowthRow[]
}

const THROUGHPUT_RATIOS: [Subject, Subject][] = [
  ['c', 'a'],
  ['c', 'b'],
  ['d', 'b'],
  ['d', 'c'],
  ['e', 'c'],
  ['f', 'c'],
]

export const ratiosOf = ({ postgresql, growth, replicas }: Results): Record<string, Spread> => {
  const ratios: Record<string, Spread> = {}
  for (const [connections, subjects] of Object.entries(postgresql)) {
    const measured = subjects as Record<Subject, Throughput>
    for (const [part, whole] of THROUGHPUT_RATIOS)
      ratios[`${part}/${whole}@${connections}`] = ratioOf(measured[part].perSecond, measured[whole].perSecond)
    ratios[`p99 c/b@${connections}`] = ratioOf(measured.c.p99, measured.b.p99)
  }
  const [smallest] = growth ?? []
  for (const row of growth?.slice(1) ?? []) {
    const size =
      row.connections >= 1_000_000 ? `${row.connections / 1_000_000}M` : `${row.connections / 1_000}k`
    for (const subject of ['c', 'd', 'e'] as const)
      ratios[`${subject} ${size}/1k`] = ratioOf(row[subject].perSecond, smallest![subject].perSecond)
  }
  for (const row of replicas?.slice(1) ?? [])
    ratios[`replicas ${row.replicas}/1`] = ratioOf(row.perSecond, replicas![0]!.perSecond)
  return ratios
}

const round = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toFixed(1))
const show = ({ median, min, max }: Spread): string => `${round(median)} (${round(min)} to ${round(max)})`
const showAll = (values: number[]): string => show(spread(values))

const table = (head: string[], rows: string[][]): string =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')

const lookups = (throughput: ThroughputTable): string =>
  table(
    ['connections', 'what', 'per second', 'p50 ms', 'p99 ms', 'errors'],
    Object.entries(throughput).flatMap(([connections, subjects]) =>
      Object.entries(subjects).map(([subject, measured]) => [
        connections,
        `(${subject}) ${NAMES[subject as Subject]}`,
        showAll(measured.perSecond),
        showAll(measured.p50),
        showAll(measured.p99),
        String(measured.errors),
      ]),
    ),
  )

const stormLines = (storm: Storm): string =>
  [
    `${storm.connections} connections whose tokens are out, ${storm.scanners} scanners, a GitLab that takes ${storm.gitlabPerSecond} requests a second:`,
    `${storm.refreshed} refreshed, ${storm.refreshedTwice} of them more than once, in ${round(storm.seconds)} s;`,
    `first answer after ${round(storm.firstAnswerMs)} ms, p50 ${round(storm.p50Ms)} ms, p99 ${round(storm.p99Ms)} ms;`,
    `answers ${Object.entries(storm.answers)
      .map(([status, count]) => `${status}: ${count}`)
      .join(', ')}, of which ${storm.withoutRetryAfter} were an error without Retry-After;`,
    `GitLab said 429 ${storm.rateLimitAnswers} times.`,
  ].join(' ')

export const toMarkdown = (results: Results): string => {
  const { postgresql, rssMb, coldStart, embedded, replicas, storm, growth } = results
  const machine = `${cpus()[0]?.model ?? 'unknown CPU'}, ${availableParallelism()} cores, ${round(totalmem() / 2 ** 30)} GiB; Node ${process.versions.node}`
  const parts = [
    `${machine}. Server, PostgreSQL (fsync and synchronous_commit on) and load generator share the machine. Medians of the rounds of one run, with the least and the most; a ratio is taken in each round. The broker logs no requests, as bare Fastify does not, but for (f). Made by \`npm run bench\`.`,
    '## Ratios',
    table(
      ['ratio', 'median', 'least', 'most'],
      Object.entries(ratiosOf(results)).map(([name, { median, min, max }]) =>
        [name, median, min, max].map(String),
      ),
    ),
    '## Lookups on PostgreSQL',
    lookups(postgresql),
    `Resident memory after the load: broker ${showAll(rssMb.broker)} MB, bare Fastify ${showAll(rssMb.baseline)} MB.`,
  ]
  if (coldStart) {
    parts.push(
      '## Start to ready',
      table(
        ['database', 'ms'],
        Object.entries(coldStart).map(([name, times]) => [name, show(times)]),
      ),
    )
  }
  if (embedded) parts.push('## Lookups on the embedded default', lookups(embedded))
  if (replicas) {
    parts.push(
      '## Replicas',
      table(
        ['processes', 'lookups per second'],
        replicas.map((row) => [String(row.replicas), showAll(row.perSecond)]),
      ),
    )
  }
  if (storm) parts.push('## Storm', stormLines(storm))
  if (growth) {
    parts.push(
      '## Growth, at 32 connections',
      table(
        ['rows', '(c) per second', '(d) per second', '(e) per second', 'memory of the broker, MB'],
        growth.map((row) => [
          String(row.connections),
          showAll(row.c.perSecond),
          showAll(row.d.perSecond),
          showAll(row.e.perSecond),
          round(row.rssMb),
        ]),
      ),
    )
  }
  return `${parts.join('\n\n')}\n`
}
