import { availableParallelism, cpus, totalmem } from 'node:os'
import { BATCH_SIZES, type Batches } from './batches.ts'
import type { ColdStart } from './cold-start.ts'
import { EXPLANATION } from './explanation.ts'
import { GROWTH_SUBJECTS, type GrowthRow } from './growth.ts'
import { GENERATOR } from './load.ts'
import type { Refreshes } from './refreshes.ts'
import type { ReplicaRow } from './replicas.ts'
import { ratioOf, type Spread, spread } from './stats.ts'
import type { Storm } from './storm.ts'
import type { Synced } from './synced.ts'
import { NAMES, type Subject, type Throughput, type ThroughputTable } from './throughput.ts'

export type Results = {
  quick: boolean
  postgresql: ThroughputTable
  /** The most of each start. */
  peakMb: { broker: number[]; baseline: number[] }
  refreshes: Refreshes
  kinds?: ThroughputTable
  limits?: ThroughputTable
  batches?: Batches
  synced?: Synced
  coldStart?: ColdStart
  embedded?: ThroughputTable
  replicas?: ReplicaRow[]
  storm?: Storm
  growth?: GrowthRow[]
}

const THROUGHPUT_RATIOS: [Subject, Subject][] = [
  ['bb', 'b'],
  ['c', 'b'],
  ['c', 'bb'],
  ['bl', 'bb'],
  ['c', 'bl'],
  ['d', 'c'],
  ['m', 'c'],
]
const LATENCY_RATIOS: [Subject, Subject][] = [
  ['c', 'bb'],
  ['m', 'bb'],
  ['bl', 'bb'],
  ['c', 'bl'],
]
const COMPARED_WITH_B = 32

const sizeName = (connections: number): string =>
  connections >= 1_000_000 ? `${connections / 1_000_000}M` : `${connections / 1_000}k`

/** Of server and database, for one. */
const spentOn = ({ serverCpu, postgresCpu }: Throughput): number[] =>
  serverCpu.map((spent, round) => spent + postgresCpu[round]!)

export const ratiosOf = (results: Results): Record<string, Spread> => {
  const { postgresql, refreshes, kinds, limits, batches, synced, growth, replicas } = results
  const ratios: Record<string, Spread> = {}
  for (const [connections, subjects] of Object.entries(postgresql)) {
    const measured = subjects as Record<Subject, Throughput>
    for (const [part, whole] of THROUGHPUT_RATIOS)
      ratios[`${part}/${whole}@${connections}`] = ratioOf(measured[part].perSecond, measured[whole].perSecond)
    for (const [part, whole] of LATENCY_RATIOS)
      ratios[`p99 ${part}/${whole}@${connections}`] = ratioOf(measured[part].p99, measured[whole].p99)
  }
  for (const [connections, { c, ...others }] of Object.entries(kinds ?? {}))
    for (const [kind, throughput] of Object.entries(others))
      ratios[`m (${kind})/c@${connections}`] = ratioOf(throughput!.perSecond, c!.perSecond)
  for (const [connections, subjects] of Object.entries(limits ?? {}))
    ratios[`c limits/none@${connections}`] = ratioOf(
      subjects['with limits']!.perSecond,
      subjects['without limits']!.perSecond,
    )
  if (batches)
    for (const subject of Object.keys(BATCH_SIZES) as (keyof typeof BATCH_SIZES)[]) {
      ratios[`${subject}/c`] = ratioOf(batches[subject].perSecond, batches.c.perSecond)
      ratios[`processor time c/${subject}`] = ratioOf(spentOn(batches.c), spentOn(batches[subject]))
    }
  for (const [connections, subjects] of Object.entries(synced?.with ?? {}))
    for (const [subject, throughput] of Object.entries(subjects))
      ratios[`${subject} synced/not@${connections}`] = ratioOf(
        throughput!.perSecond,
        synced!.without[Number(connections)]![subject]!.perSecond,
      )
  for (const [place, row] of (growth ?? []).entries())
    for (const smaller of growth!.slice(0, place))
      for (const subject of GROWTH_SUBJECTS)
        ratios[`${subject} ${sizeName(row.connections)}/${sizeName(smaller.connections)}`] = ratioOf(
          row[subject].perSecond,
          smaller[subject].perSecond,
        )
  for (const row of replicas?.slice(1) ?? [])
    ratios[`replicas ${row.replicas}/1`] = ratioOf(row.perSecond, replicas![0]!.perSecond)
  ratios['refresh/s'] = spread(refreshes.perSecond.map(Math.round))
  const { median } = spread(postgresql[COMPARED_WITH_B]!.b!.perSecond)
  ratios[`refresh/b@${COMPARED_WITH_B}`] = thousandths(refreshes.perSecond.map((value) => value / median))
  return ratios
}

const thousandths = (values: number[]): Spread => {
  const { median, min, max } = spread(values)
  const rounded = (value: number) => Math.round(value * 1000) / 1000
  return { median: rounded(median), min: rounded(min), max: rounded(max) }
}

const round = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toFixed(1))
const show = ({ median, min, max }: Spread): string => `${round(median)} (${round(min)} to ${round(max)})`
const showAll = (values: number[]): string => show(spread(values))
const median = (values: number[]): string => round(spread(values).median)

const table = (head: string[], rows: string[][]): string =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')

const nameOf = (subject: string): string =>
  subject in NAMES ? `(${subject}) ${NAMES[subject as Subject]}` : subject

const lookups = (throughput: ThroughputTable): string =>
  table(
    [
      'connections',
      'what',
      'per second',
      'p50 ms',
      'p99 ms',
      'server, µs each',
      'PostgreSQL, µs each',
      'errors',
    ],
    Object.entries(throughput).flatMap(([connections, subjects]) =>
      Object.entries(subjects).map(([subject, measured]) => [
        connections,
        nameOf(subject),
        showAll(measured!.perSecond),
        median(measured!.p50),
        showAll(measured!.p99),
        median(measured!.serverCpu),
        median(measured!.postgresCpu),
        String(measured!.errors),
      ]),
    ),
  )

const refreshLines = (refreshes: Refreshes): string =>
  `${showAll(refreshes.perSecond)} refreshes a second at ${refreshes.connections} connections; each takes ${median(refreshes.brokerCpuMs)} ms of the broker and ${median(refreshes.postgresCpuMs)} ms of PostgreSQL; ${refreshes.errors} errors.`

const stormLines = (storm: Storm): string =>
  [
    `${storm.connections} connections whose tokens are out, ${storm.scanners} scanners, a GitLab that takes ${storm.gitlabPerSecond} requests a second:`,
    `${storm.refreshed} refreshed, ${storm.refreshedTwice} of them more than once, in ${round(storm.seconds)} s (least: ${round(storm.leastSeconds)} s);`,
    `first answer after ${round(storm.firstAnswerMs)} ms, p50 ${round(storm.p50Ms)} ms, p99 ${round(storm.p99Ms)} ms;`,
    `answers ${Object.entries(storm.answers)
      .map(([status, count]) => `${status}: ${count}`)
      .join(', ')}, of which ${storm.withoutRetryAfter} were an error without Retry-After;`,
    `scanners slept ${Math.round(storm.asleep * 100)} % of their time on a Retry-After; GitLab said 429 ${storm.rateLimitAnswers} times.`,
  ].join(' ')

const growthTable = (growth: GrowthRow[]): string =>
  table(
    [
      'connections',
      ...GROWTH_SUBJECTS.map((subject) => `(${subject}) per second`),
      'most memory of the broker, MB',
    ],
    growth.map((row) => [
      String(row.connections),
      ...GROWTH_SUBJECTS.map((subject) => showAll(row[subject].perSecond)),
      round(row.peakMb),
    ]),
  )

const batchTable = (batches: Batches): string =>
  table(
    [
      'what',
      'credentials per second',
      'p50 ms of a call',
      'server, µs each',
      'PostgreSQL, µs each',
      'errors',
    ],
    Object.entries(batches).map(([subject, measured]) => [
      subject in BATCH_SIZES
        ? `(${subject}) POST /v1/credentials/batch, ${BATCH_SIZES[subject as keyof typeof BATCH_SIZES]} a call, 4 connections`
        : `${nameOf(subject)}, 32 connections`,
      showAll(measured.perSecond),
      median(measured.p50),
      median(measured.serverCpu),
      median(measured.postgresCpu),
      String(measured.errors),
    ]),
  )

const laterParts = ({
  kinds,
  limits,
  batches,
  synced,
  coldStart,
  embedded,
  replicas,
  storm,
  growth,
}: Results): string[] => [
  ...(kinds ? ['## The mix by kind', lookups(kinds)] : []),
  ...(limits ? ['## (c) with limits and load shedding, and without', lookups(limits)] : []),
  ...(batches ? ['## Many at once', batchTable(batches)] : []),
  ...(synced
    ? [
        `## Lookups by URL while ${synced.projects} projects are known`,
        lookups(synced.with),
        'The same broker right before:',
        lookups(synced.without),
      ]
    : []),
  ...(growth ? ['## Growth, at 32 connections', growthTable(growth)] : []),
  ...(storm ? ['## Storm', stormLines(storm)] : []),
  ...(replicas
    ? [
        '## Replicas',
        table(
          ['processes', 'lookups per second'],
          replicas.map((row) => [String(row.replicas), showAll(row.perSecond)]),
        ),
      ]
    : []),
  ...(embedded ? ['## Lookups on the embedded default (1,000 connections)', lookups(embedded)] : []),
  ...(coldStart
    ? [
        '## Start to ready',
        table(
          ['database', 'ms'],
          Object.entries(coldStart).map(([name, times]) => [name, show(times)]),
        ),
      ]
    : []),
]

export const toMarkdown = (results: Results): string => {
  const { postgresql, peakMb, refreshes } = results
  const machine = `${cpus()[0]?.model ?? 'unknown CPU'}, ${availableParallelism()} cores, ${round(totalmem() / 2 ** 30)} GiB; Node ${process.versions.node}; load generator: ${GENERATOR}`
  return `${[
    `${machine}. Made by \`npm run bench\`.`,
    EXPLANATION.trimEnd(),
    '## Ratios',
    table(
      ['ratio', 'median', 'least', 'most'],
      Object.entries(ratiosOf(results)).map(([name, { median, min, max }]) =>
        [name, median, min, max].map(String),
      ),
    ),
    '## Lookups on PostgreSQL',
    lookups(postgresql),
    `Most resident memory: broker ${showAll(peakMb.broker)} MB, the yardsticks ${showAll(peakMb.baseline)} MB.`,
    '## Refreshes',
    refreshLines(refreshes),
    ...laterParts(results),
  ].join('\n\n')}\n`
}
