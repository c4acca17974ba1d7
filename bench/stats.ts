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

export const ratio = (part: number, whole: number): number => Math.round((part / whole) * 100) / 100
