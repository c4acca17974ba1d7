import { ExponentialBackoff, handleAll, retry } from 'cockatiel'
import { LRUCache } from 'lru-cache'
import type { Logger } from 'pino'
import type { Clock } from '../clock/clock.ts'
import type { Database, RunPrepared } from '../db/database.ts'
import type { ConnectionRow } from '../db/tables.ts'
import type { Vault } from '../vault/vault.ts'
import { createOffers, type OfferRetained } from './history/offer-retained.ts'
import { findConnection, type IssuedToken, type TokenToSave } from './queries.ts'
import { createSharedSaves } from './saves/shared-saves.ts'
import type { IssuedTokenSet, Spool } from './spool.ts'

/**
 * - `saved`: the database has it.
 * - `superseded`: the connection has this token already, or a newer one.
 * - `gone`: there is no such connection. It was deleted, or the database went back to before it was made.
 * - `kept`: the database is away; the token is saved as soon as the database is back.
 */
export type SaveOutcome = 'saved' | 'superseded' | 'gone' | 'kept'

export type TokenSaver = {
  save(issued: IssuedTokenSet): Promise<SaveOutcome>
  /** Saves what an earlier process had to leave behind. @returns how many there were. */
  takeUpSpool(): Promise<number>
  /**
   * Gives a connection that is behind the living successor of its token, if this node retained it.
   * @returns whether it was given.
   */
  offerSuccessor(row: Pick<ConnectionRow, 'id' | 'grant_id' | 'token_version'>): Promise<boolean>
  /** Whether the row has the token that this process saved last for it: then there is no successor to offer. */
  savedLast(row: Pick<ConnectionRow, 'id' | 'token_version'>): boolean
  /** The same for every connection: the database went back. */
  offerRetained: OfferRetained
  /** A connection was deleted: nothing of its tokens stays on this node's disk. */
  forget(connectionId: string): Promise<void>
  deleteOldRetained(): Promise<number>
  /** Tries once more to save what is kept, then leaves it in the spool for the next start. */
  close(): Promise<void>
}

/** Some 2 MB. */
const REMEMBERED_VERSIONS = 10_000
const FIRST_RETRY_MS = 100
const LONGEST_RETRY_MS = 5_000
/** A save takes milliseconds; what takes longer may take until the statement's limit. */
const HESITATION_MS = 500

export type TokenSaverDeps = {
  db: Database
  runPrepared: RunPrepared
  vault: Vault
  clock: Clock
  spool: Spool
  logger: Logger
  /** How long an issued token stays on the disk after it was saved; 0 = not at all. */
  retentionSeconds: number
}

/** One try to save a token, and what is left to do with its file. */
const createSaving = (deps: TokenSaverDeps) => {
  const { db, vault, clock, spool, logger, retentionSeconds } = deps
  const retaining = new Set<Promise<void>>()
  const saveIssued = createSharedSaves(deps)
  /** The version that was saved last, by connection. */
  const lastSaved = new LRUCache<string, number>({ max: REMEMBERED_VERSIONS })

  const retain = (issued: IssuedTokenSet): void => {
    if (retentionSeconds === 0) return
    const writing = spool
      .retain(issued, new Date(clock()))
      .catch((error: unknown) =>
        logger.warn({ err: error, connection_id: issued.connectionId }, 'a saved token is not retained'),
      )
      .finally(() => retaining.delete(writing))
    retaining.add(writing)
  }

  const saveOnce = async (issued: IssuedTokenSet): Promise<SaveOutcome> => {
    const { connectionId, tokenVersion } = issued
    if (await saveIssued(await toSave(vault, issued))) {
      lastSaved.set(connectionId, tokenVersion)
      retain(issued)
      return 'saved'
    }
    const row = await findConnection(db, connectionId)
    // Saved by a try whose answer was lost.
    if (row?.token_version === tokenVersion && row.grant_id === issued.grantId) retain(issued)
    const outcome = row ? 'superseded' : 'gone'
    const line = outcome === 'gone' ? 'the connection is gone' : 'the token or a newer one was there'
    logger.warn({ connection_id: connectionId, token_version: tokenVersion }, line)
    return outcome
  }

  /** A token without a connection is kept for a while: the database may have gone back to before it was made. */
  const settle = async (issued: IssuedTokenSet, outcome: SaveOutcome): Promise<void> => {
    if (outcome === 'gone') await spool.retain(issued, new Date(clock()))
    await spool.remove(issued)
  }

  return { lastSaved, saveIssued, saveOnce, settle, retaining }
}

type Saving = ReturnType<typeof createSaving>

/** Tries again and again to save what the database did not take. */
const createKeeping = ({ spool, logger }: TokenSaverDeps, { saveOnce, settle }: Saving) => {
  const closing = new AbortController()
  const kept = new Map<string, Promise<void>>()
  const untilSaved = retry(handleAll, {
    maxAttempts: Number.POSITIVE_INFINITY,
    backoff: new ExponentialBackoff({ initialDelay: FIRST_RETRY_MS, maxDelay: LONGEST_RETRY_MS }),
  })

  const keep = async (issued: IssuedTokenSet): Promise<void> => {
    const log = logger.child({ connection_id: issued.connectionId, token_version: issued.tokenVersion })
    try {
      await spool.write(issued)
      log.error('the database did not take a token; it is in the spool and tried again')
    } catch (error) {
      log.fatal({ err: error }, 'neither the database nor the spool took a token: it is in memory only')
    }
    const saving = untilSaved
      .execute(async () => {
        await settle(issued, await saveOnce(issued))
        log.info('a kept token is saved')
      }, closing.signal)
      .catch((error: unknown) =>
        log.error({ err: error }, 'a kept token waits in the spool for the next start'),
      )
      .finally(() => kept.delete(issued.connectionId))
    kept.set(issued.connectionId, saving)
  }

  return {
    keep,
    async close() {
      closing.abort()
      await Promise.allSettled(kept.values())
    },
  }
}

export const createTokenSaver = (deps: TokenSaverDeps): TokenSaver => {
  const { vault, clock, spool, logger, retentionSeconds } = deps
  const saving = createSaving(deps)
  const { lastSaved, saveIssued, saveOnce, settle, retaining } = saving
  const keeping = createKeeping(deps, saving)

  /** While the database hesitates, the token is on the disk too: a process that is killed then loses nothing. */
  const saveWithSpare = async (issued: IssuedTokenSet): Promise<SaveOutcome> => {
    let spare: Promise<boolean> | undefined
    const hesitating = setTimeout(() => {
      spare = spool.write(issued).then(
        () => true,
        (error: unknown) => {
          logger.error({ err: error, connection_id: issued.connectionId }, 'the spool did not take a token')
          return false
        },
      )
    }, HESITATION_MS)
    try {
      const outcome = await saveOnce(issued)
      clearTimeout(hesitating)
      if (await spare) await settle(issued, outcome)
      return outcome
    } finally {
      clearTimeout(hesitating)
      await spare
    }
  }

  const save = async (issued: IssuedTokenSet): Promise<SaveOutcome> => {
    try {
      return await saveWithSpare(issued)
    } catch (error) {
      logger.error({ err: error, connection_id: issued.connectionId }, 'saving a token failed')
      await keeping.keep(issued)
      return 'kept'
    }
  }

  const offers = createOffers({
    db: deps.db,
    spool,
    logger,
    give: async (issued) => saveIssued(await toSave(vault, issued)),
  })

  return {
    save,

    async takeUpSpool() {
      const left = await spool.list()
      for (const issued of left) {
        const outcome = await save(issued)
        if (outcome !== 'kept') await settle(issued, outcome)
        logger.warn({ connection_id: issued.connectionId, outcome }, 'a token from the spool was taken up')
      }
      return left.length
    },

    savedLast: ({ id, token_version }) => lastSaved.get(id) === token_version,

    ...offers,

    forget: (connectionId) => spool.forgetRetained(connectionId),

    deleteOldRetained: () => spool.deleteRetainedBefore(new Date(clock() - retentionSeconds * 1000)),

    async close() {
      await keeping.close()
      await Promise.allSettled(retaining)
    },
  }
}

const toSave = async (vault: Vault, issued: IssuedTokenSet): Promise<TokenToSave> => {
  const { connectionId, grantId, accessToken } = issued
  const [token, tokenHash] = await Promise.all([seal(vault, issued), vault.tokenHash(accessToken)])
  return { connectionId, grantId, token, tokenHash }
}

const seal = async (vault: Vault, issued: IssuedTokenSet): Promise<IssuedToken> => {
  const binding = { ownerId: issued.connectionId, version: issued.tokenVersion }
  const { accessToken, refreshToken } = issued
  const [access_token, refresh_token] = await Promise.all([
    vault.seal(accessToken, { ...binding, use: 'access' }),
    refreshToken === null ? null : vault.seal(refreshToken, { ...binding, use: 'refresh' }),
  ])
  return {
    token_version: issued.tokenVersion,
    access_token,
    refresh_token,
    token_issued_at: issued.issuedAt,
    token_expires_at: issued.expiresAt,
    scopes: issued.scopes,
  }
}
