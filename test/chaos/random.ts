/** A seeded source of chance: the same seed makes the same plan. */
export type Random = {
  /** 0 to 1, without 1. */
  next(): number
  between(least: number, most: number): number
  chance(probability: number): boolean
  pick<Item>(items: readonly Item[]): Item
  /** Another source, so that what one part draws does not shift what the other gets. */
  fork(): Random
}

const TWO_TO_32 = 4_294_967_296

/** mulberry32, by Tommy Ettinger (public domain): 32 bits of state are plenty for a schedule. */
export const createRandom = (seed: number): Random => {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / TWO_TO_32
  }
  const random: Random = {
    next,
    between: (least, most) => least + next() * (most - least),
    chance: (probability) => next() < probability,
    pick: (items) => items[Math.floor(next() * items.length)]!,
    fork: () => createRandom(Math.floor(next() * TWO_TO_32)),
  }
  return random
}
