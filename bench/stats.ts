/** The middle of several rounds, with the least and the most: machines are noisy. */
export type Spread = { median: number; min: number; max: number }

export const spread = (values: number[]): Spread => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
  return { median, min: sorted[0]!, max: sorted.at(-1)! }
}

export const percentile = (values: number[], share: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
}

/** Round by round, since what else the machine does in one strikes both alike: the middle of the ratios, not the ratio of the middles. */
export const ratioOf = (part: number[], whole: number[]): Spread => {
  const { median, min, max } = spread(part.map((value, round) => value / whole[round]!))
  const hundredths = (value: number) => Math.round(value * 100) / 100
  return { median: hundredths(median), min: hundredths(min), max: hundredths(max) }
}
