/** Half past ten: no date changes while a test moves on by hours. */
const START = Date.parse('2026-11-02T10:30:00Z')

export type FakeClock = (() => number) & {
  advance(seconds: number): void
  /** How often it was read: whoever waits for a change reads it each time that it looks. */
  readings(): number
}

/** Stands still unless told; the broker and the simulator of a test share one. */
export const createFakeClock = (start = START): FakeClock => {
  let now = start
  let readings = 0
  const read = () => {
    readings += 1
    return now
  }
  return Object.assign(read, {
    advance(seconds: number) {
      now += seconds * 1000
    },
    readings: () => readings,
  })
}
