import type { Logger } from 'pino'
import type { OpenDatabase } from './database.ts'

/** How often the clock of the database is looked at, and whether it is back. */
const BEAT_MS = 2_000

export type DatabaseWatch = { stop(): void }

export type WatchOptions = {
  /** Beyond how many milliseconds between the clocks a warning is logged. */
  clockWarningMs: number
  beatMs?: number
}

/** Keeps the clock set after the database, and logs each change once: away and back, clocks apart and together. */
export const watchDatabase = (
  { availability, readFacts, clock }: Pick<OpenDatabase, 'availability' | 'readFacts' | 'clock'>,
  logger: Logger,
  { clockWarningMs, beatMs = BEAT_MS }: WatchOptions,
): DatabaseWatch => {
  let stopped = false
  availability.onChange((change) => {
    if (stopped) return
    if (change.available) logger.info({ away_seconds: change.awaySeconds }, 'the database can be used again')
    else logger.error({ code: 'database_unavailable', cause: change.cause }, 'the database cannot be used')
  })

  let areApart = false
  const compareClocks = () => {
    const seconds = Math.round(clock.aheadMs() / 100) / 10
    const apart = Math.abs(clock.aheadMs()) > clockWarningMs
    if (apart === areApart) return
    areApart = apart
    if (apart)
      logger.warn({ ahead_seconds: seconds }, 'the clock of this machine differs from that of the database')
    else logger.info({ ahead_seconds: seconds }, 'the clock of this machine agrees with that of the database')
  }

  let timer: NodeJS.Timeout | undefined
  const beat = async () => {
    // What fails is told to `availability` by the connection.
    await readFacts().then(compareClocks, () => undefined)
    if (stopped) return
    timer = setTimeout(beat, beatMs)
    timer.unref()
  }
  void beat()
  return {
    stop() {
      stopped = true
      clearTimeout(timer)
    },
  }
}
