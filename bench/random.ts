/** A generator of numbers from 0 to 1 that gives the same ones for the same seed (mulberry32). */
export const createRandom = (seed: number): (() => number) => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Draws ranks from 0: rank n is drawn in proportion to 1 / (n + 1), as Zipf found for words. */
export const createZipf = (ranks: number, random: () => number): (() => number) => {
  const sums = new Float64Array(ranks)
  let sum = 0
  for (let rank = 0; rank < ranks; rank += 1) {
    sum += 1 / (rank + 1)
    sums[rank] = sum
  }
  return () => {
    const wanted = random() * sum
    let low = 0
    let high = ranks - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if (sums[middle]! < wanted) low = middle + 1
      else high = middle
    }
    return low
  }
}

const greatestCommonDivisor = (a: number, b: number): number =>
  b === 0 ? a : greatestCommonDivisor(b, a % b)

/** Near the golden section: neighbours land far apart. */
const GOLDEN = 0.6180339887

/** Shuffles the numbers below `count`: each comes once, neighbours land far apart, and nothing is kept. */
export const createScramble = (count: number): ((number: number) => number) => {
  let step = Math.max(1, Math.floor(count * GOLDEN))
  while (greatestCommonDivisor(step, count) !== 1) step += 1
  // Both are below 2 ** 26: the product is exact.
  return (number) => ((number % count) * step) % count
}
