import type { Logger } from 'pino'
import type { Database } from '../../db/database.ts'
import type { OfferRetained } from './offer-retained.ts'
import { saveWentBack } from './queries.ts'
import { mayHaveGoneBack, type Suspicion } from './suspicion.ts'

type Deps = { db: Database; logger: Logger; offerRetained: OfferRetained }

/** Gives tokens back to a database that went back, and remembers which connections still wait for theirs. */
export const createGivingBack = ({ db, logger, offerRetained }: Deps, suspicion: Suspicion) => {
  let wentBackAt: Date | undefined
  /** The connections that could not be given their token yet: tried with each check. */
  let left = new Set<string>()
  /** Of the suspicion of this number: `isBegun` = everything was offered once, and `left` is what remains. */
  let offering = { of: 0, isBegun: false, isNoted: false }

  const noteOnce = async (now: Date): Promise<void> => {
    if (offering.isNoted) return
    await saveWentBack(db, now)
    offering.isNoted = true
    wentBackAt = now
  }

  const giveWhatIsLeft = async (): Promise<number> => {
    if (left.size === 0) return 0
    const offered = await offerRetained([...left])
    left = new Set(offered.left)
    return offered.given
  }

  return {
    wentBackAt: () => wentBackAt,
    behind: () => left.size,

    /** @throws {Problem} database_unavailable */
    requireGiven(connectionId: string): void {
      if (left.has(connectionId)) throw mayHaveGoneBack()
    },

    /** The database knows of this time. */
    knows(time: Date | undefined): void {
      wentBackAt = time
    },

    /**
     * Offers everything once, and then what is left. When that fails, the next check is here again.
     * @returns whether it is done: nothing is left, or what is left has had its time.
     */
    async forSuspicion(isBehind: boolean, now: Date): Promise<boolean> {
      const of = suspicion.count()
      if (offering.of !== of) offering = { of, isBegun: false, isNoted: false }
      const current = offering
      if (isBehind) await noteOnce(now)
      const isFirst = !current.isBegun
      let given: number
      if (isFirst) {
        const offered = await offerRetained()
        left = new Set(offered.left)
        given = offered.given
        current.isBegun = true
      } else given = await giveWhatIsLeft()
      if (given > 0) await noteOnce(now)
      if (given > 0 || (isBehind && isFirst))
        logger.error(
          { tokens_given_back: given, connections_left: left.size },
          'the database went back to an earlier state',
        )
      return left.size === 0 || suspicion.isLate()
    },

    /** Another node noticed. */
    async forAnother(noticedAt: Date): Promise<void> {
      const offered = await offerRetained()
      left = new Set(offered.left)
      const tokens = { tokens_given_back: offered.given, connections_left: left.size }
      logger.error(tokens, 'another node noticed that the database went back')
      wentBackAt = noticedAt
    },

    async whatIsLeft(): Promise<void> {
      const given = await giveWhatIsLeft()
      if (given > 0) logger.warn({ tokens_given_back: given }, 'tokens that had to wait are given back')
    },
  }
}
