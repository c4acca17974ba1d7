/** Half past ten: no date changes while a test moves on by hours. */
const START = Date.parse('2026-11-02T10:30:00Z')

export type FakeClock = (() => number) & { advance(seconds: number): void }

/** Stands still unless told; the broker and the simulator of a test share one. */
export const createFakeClock = (start = START): FakeClock => {
  let now = start
  return Object.assign(() => now, {
    advance(seconds: number) {
      now += seconds * 1000
    },
  })
}
