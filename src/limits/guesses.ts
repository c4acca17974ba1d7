import { LRUCache } from 'lru-cache'
import { addSeconds, type Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { Problem } from '../errors/problem.ts'
import { countGuess } from './queries.ts'

/** What is guessed at, and how often a minute. 0 = as often as one likes. */
export type GuessLimits = Record<'key' | 'sign_in' | 'token', number>
export type GuessKind = keyof GuessLimits

/** Counts over all replicas how often a source, such as an address, tries something that may be a guess. */
export type Guesses = {
  /**
   * From memory, without a query.
   * @throws {Problem} rate_limited while the source has none left
   */
  refuse(kind: GuessKind, source: string): void
  /**
   * One statement.
   * @throws {Problem} rate_limited when this was one too many
   */
  count(kind: GuessKind, source: string): Promise<void>
  /** Whether some source has none left: false spares the search for it. */
  isAnyRefused(): boolean
}

const WINDOW_SECONDS = 60
const REMEMBERED_SOURCES = 10_000

const tooMany = (waitMs: number): Problem =>
  new Problem('rate_limited', 'Too many attempts from here; wait, then try again.', {
    retryAfterSeconds: Math.max(1, Math.ceil(waitMs / 1000)),
  })

export const createGuesses = ({
  db,
  clock,
  limits,
}: {
  db: Database
  clock: Clock
  limits: GuessLimits
}): Guesses => {
  /** When a source may go on, in milliseconds. */
  const refused = new LRUCache<string, number>({ max: REMEMBERED_SOURCES })
  return {
    refuse(kind, source) {
      const name = `${kind} ${source}`
      const end = refused.get(name)
      if (end === undefined) return
      if (end > clock()) throw tooMany(end - clock())
      refused.delete(name)
    },
    async count(kind, source) {
      const limit = limits[kind]
      if (limit === 0) return
      const now = new Date(clock())
      const name = `${kind} ${source}`
      const { guesses, endsAt } = await countGuess(db, name, now, addSeconds(now, WINDOW_SECONDS))
      if (guesses >= limit) refused.set(name, endsAt.getTime())
      if (guesses > limit) throw tooMany(endsAt.getTime() - now.getTime())
    },
    isAnyRefused: () => refused.size > 0,
  }
}
