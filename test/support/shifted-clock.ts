// node --import: a machine whose wall clock is wrong by CLOCK_SHIFT_MS, and is set back an hour with each SIGUSR2.
const HOUR_MS = 3_600_000
const RealDate = Date
let shiftMs = Number(process.env.CLOCK_SHIFT_MS ?? 0)

class ShiftedDate extends RealDate {
  constructor(...parts: [] | [number | string | Date]) {
    if (parts.length === 0) super(RealDate.now() + shiftMs)
    else super(...parts)
  }
  static override now(): number {
    return RealDate.now() + shiftMs
  }
}

globalThis.Date = ShiftedDate as DateConstructor
process.on('SIGUSR2', () => {
  shiftMs -= HOUR_MS
  process.stdout.write('the clock was set back\n')
})
