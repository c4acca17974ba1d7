import { availableParallelism, cpus, totalmem } from 'node:os'
import type { ColdStart } from './cold-start.ts'
import type { GrowthRow } from './growth.ts'
import type { ReplicaRow } from './replicas.ts'
import { ratio, type Spread } from './stats.ts'
import type { Storm } from './storm.ts'
import { NAMES, type Subject, type ThroughputTable } from './throughput.ts'

export type Results = {
  quick: boolean
  postgresql: ThroughputTable
  rssMb: { broker: number | undefined; baseline: number | undefined }
  coldStart?: ColdStart
  embedded?: ThroughputTable
  replicas?: ReplicaRow[]
  storm?: Storm
  growth?: GrowthRow[]
}

const perSecond = (table: ThroughputTable, connections: number, subject: Subject): number =>
  table[connections]?.[subject]?.perSecond.median ?? Number.NaN
const p99 = (table: ThroughputTable, connections: number, subject: Subject): number =>
  table[connections]?.[subject]?.p99.median ?? Number.NaN

/** Medians against medians of one run. */
export const ratiosOf = ({ postgresql, growth, replicas }: Results): Record<string, number> => {
  const ratios: Record<string, number> = {}
  for (const connections of Object.keys(postgresql).map(Number)) {
    const of = (part: Subject, whole: Subject) =>
      ratio(perSecond(postgresql, connections, part), perSecond(postgresql, connections, whole))
    ratios[`c/a@${connections}`] = of('c', 'a')
    ratios[`c/b@${connections}`] = of('c', 'b')
    ratios[`d/b@${connections}`] = of('d', 'b')
    ratios[`d/c@${connections}`] = of('d', 'c')
    ratios[`e/c@${connections}`] = of('e', 'c')
    ratios[`p99 c/b@${connections}`] = ratio(
      p99(postgresql, connections, 'c'),
      p99(postgresql, connections, 'b'),
    )
  }
  const [smallest] = growth ?? []
  for (const row of growth?.slice(1) ?? []) {
    const size =
      row.connections >= 1_000_000 ? `${row.connections / 1_000_000}M` : `${row.connections / 1_000}k`
    ratios[`c ${size}/1k`] = ratio(row.c.perSecond.median, smallest!.c.perSecond.median)
    ratios[`d ${size}/1k`] = ratio(row.d.perSecond.median, smallest!.d.perSecond.median)
    ratios[`e ${size}/1k`] = ratio(row.e.perSecond.median, smallest!.e.perSecond.median)
  }
  for (const row of replicas?.slice(1) ?? []) {
    ratios[`replicas ${row.replicas}/1`] = ratio(row.perSecond.median, replicas![0]!.perSecond.median)
  }
  return ratios
}

const round = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toFixed(1))
const show = ({ median, min, max }: Spread): string => `${round(median)} (${round(min)} to ${round(max)})`

const table = (head: string[], rows: string[][]): string =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')

const lookups = (throughput: ThroughputTable): string =>
  table(
    ['connections', 'what', 'per second', 'p50 ms', 'p99 ms', 'errors'],
    Object.entries(throughput).flatMap(([connections, subjects]) =>
      Object.entries(subjects).map(([subject, measured]) => [
        connections,
        `(${subject}) ${NAMES[subject as Subject]}`,
        show(measured.perSecond),
        show(measured.p50),
        show(measured.p99),
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
    `${machine}. Server, PostgreSQL (fsync and synchronous_commit on) and load generator share the machine. Medians of the rounds of one run, with the least and the most; made by \`npm run bench\`.`,
    '## Ratios',
    table(
      ['ratio', 'value'],
      Object.entries(ratiosOf(results)).map(([name, value]) => [name, String(value)]),
    ),
    '## Lookups on PostgreSQL',
    lookups(postgresql),
    `Resident memory after the load: broker ${round(rssMb.broker ?? Number.NaN)} MB, bare Fastify ${round(rssMb.baseline ?? Number.NaN)} MB.`,
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
        replicas.map((row) => [String(row.replicas), show(row.perSecond)]),
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
          show(row.c.perSecond),
          show(row.d.perSecond),
          show(row.e.perSecond),
          round(row.rssMb ?? Number.NaN),
        ]),
      ),
    )
  }
  return `${parts.join('\n\n')}\n`
}
