import type { ChaosReport } from './chaos.ts'

const SHOWN_VIOLATIONS = 40

export const percentile = (values: number[], share: number): number => {
  const sorted = values.toSorted((left, right) => left - right)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
}

const listed = (counts: Map<string, number>): string =>
  counts.size === 0
    ? 'none'
    : [...counts]
        .sort(([, left], [, right]) => right - left)
        .map(([name, count]) => `${count} x ${name}`)
        .join(', ')

const countBy = <Item>(items: Item[], nameOf: (item: Item) => string): Map<string, number> => {
  const counts = new Map<string, number>()
  for (const item of items) counts.set(nameOf(item), (counts.get(nameOf(item)) ?? 0) + 1)
  return counts
}

export const describe = (report: ChaosReport): string => {
  const { ledger, verdict, journal, violations } = report
  const { lookupMs } = ledger
  const lookups = [...ledger.lookups.values()].reduce((sum, count) => sum + count, 0)
  const lines = [
    ['troubles', listed(report.troubles)],
    ['brokers ended', listed(countBy(journal.endings, ({ how }) => how))],
    ['lookups', `${lookups}: ${listed(ledger.lookups)}`],
    [
      'time of a lookup that got a token',
      `p50 ${percentile(lookupMs, 0.5)} ms, p99 ${percentile(lookupMs, 0.99)} ms`,
    ],
    ['uses at GitLab', listed(ledger.uses)],
    ['leased tokens that failed', `${ledger.brokenLeases.length}`],
    ['the same under preempt', `${ledger.brokenByPreempt}`],
    ['the same after the database forgot the lease', `${ledger.forgottenLeases}`],
    ['rejections', listed(ledger.rejections)],
    ['refreshes', `${verdict.refreshes}, one per generation`],
    ['replays of a spent refresh token', listed(verdict.replays)],
    ['spool pick-ups', `${journal.spoolPickUps}`],
    [
      'lost',
      `${verdict.losses.length} of ${report.connections}: ${listed(countBy(verdict.losses, (loss) => `${loss.why} (${loss.marked})`))}`,
    ],
    [
      'longest time that a killed process alone held what was lost',
      `${Math.max(0, ...verdict.losses.map(({ heldMs }) => heldMs ?? 0))} ms`,
    ],
    ['all others well again', `after ${report.healedAfterSeconds} s`],
    ['the weather then', report.weather],
    ['violations', `${violations.length}`],
  ]
  const shown = violations.slice(0, SHOWN_VIOLATIONS).map((violation) => `  - ${violation}`)
  const left = violations.length - shown.length
  return [
    `chaos: ${report.seconds} s, seed ${report.seed}`,
    ...lines.map(([name, text]) => `${name}: ${text}`),
    ...shown,
    ...(left > 0 ? [`  ... and ${left} more`] : []),
  ].join('\n')
}
