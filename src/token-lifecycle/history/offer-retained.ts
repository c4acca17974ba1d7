import type { Logger } from 'pino'
import type { Database } from '../../db/database.ts'
import { isDatabaseUnavailable } from '../../db/database.ts'
import type { ConnectionRow } from '../../db/tables.ts'
import { findBehind } from '../saves/queries.ts'
import type { IssuedTokenSet, RetainedTokens } from '../spool.ts'

/** What became of an offer. */
export type Offered = {
  /** How many connections were behind, and have their living token now. */
  given: number
  /** The connections that are behind and could not be given their token yet: their row is locked, or the database was away. */
  left: string[]
}

/**
 * Gives every connection that is behind the token that this node retained.
 * @param only these connections; all when left out.
 */
export type OfferRetained = (only?: string[]) => Promise<Offered>

type Deps = {
  db: Database
  spool: Pick<RetainedTokens, 'findRetained' | 'listRetained'>
  logger: Logger
  /** @returns whether the connection had an older token. */
  give(issued: IssuedTokenSet): Promise<boolean>
}

const GIVEN_BACK = 'the database was behind: a token of this connection came back from the disk'
/** So many tokens are in memory at once, and are asked about in one statement. */
const OFFERED_AT_ONCE = 200

const chunksOf = <Item>(items: Item[], size: number): Item[][] =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, index) =>
    items.slice(index * size, (index + 1) * size),
  )

/** Gives connections the successors of their tokens, which this node retained. */
export const createOffers = ({ db, spool, logger, give }: Deps) => {
  const giveBack = async (issued: IssuedTokenSet): Promise<boolean> => {
    if (!(await give(issued))) return false
    const { connectionId, tokenVersion } = issued
    logger.error({ connection_id: connectionId, token_version: tokenVersion }, GIVEN_BACK)
    return true
  }

  /** A connection that cannot be given its token keeps no other from it. */
  const offerOne = async (issued: IssuedTokenSet): Promise<'given' | 'left' | 'not_behind'> => {
    try {
      return (await giveBack(issued)) ? 'given' : 'not_behind'
    } catch (error) {
      const connection_id = issued.connectionId
      if (isDatabaseUnavailable(error)) {
        logger.warn({ err: error, connection_id }, 'a retained token is not taken yet')
        return 'left'
      }
      // Another try would end the same; a refresh offers the token once more.
      logger.error({ err: error, connection_id }, 'a retained token is not taken')
      return 'not_behind'
    }
  }

  const offerSome = async (connectionIds: string[]): Promise<Offered> => {
    const found = await Promise.all(connectionIds.map((id) => spool.findRetained(id, 1)))
    const retained = found.filter((issued) => issued !== undefined)
    const behind = new Map((await findBehind(db, retained)).map(({ id, isLocked }) => [id, isLocked]))
    const locked = [...behind].flatMap(([id, isLocked]) => (isLocked ? [id] : []))
    const free = retained.filter(({ connectionId }) => behind.get(connectionId) === false)
    const outcomes = await Promise.all(free.map(offerOne))
    const left = free.flatMap(({ connectionId }, index) => (outcomes[index] === 'left' ? [connectionId] : []))
    return { given: outcomes.filter((outcome) => outcome === 'given').length, left: [...locked, ...left] }
  }

  return {
    /** @returns whether a connection that is behind was given its living token. */
    async offerSuccessor({
      id,
      token_version,
    }: Pick<ConnectionRow, 'id' | 'token_version'>): Promise<boolean> {
      const issued = await spool.findRetained(id, token_version + 1)
      return issued !== undefined && giveBack(issued)
    },

    async offerRetained(only?: string[]): Promise<Offered> {
      const total: Offered = { given: 0, left: [] }
      const chunks = chunksOf(only ?? (await spool.listRetained()), OFFERED_AT_ONCE)
      for (const [index, some] of chunks.entries()) {
        try {
          const { given, left } = await offerSome(some)
          total.given += given
          total.left.push(...left)
        } catch (error) {
          if (!isDatabaseUnavailable(error)) throw error
          total.left.push(...chunks.slice(index).flat())
          break
        }
      }
      return total
    },
  }
}
