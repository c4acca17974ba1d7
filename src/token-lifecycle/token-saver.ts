import { ExponentialBackoff, handleAll, retry } from 'cockatiel'
import type { Logger } from 'pino'
import type { Database } from '../db/database.ts'
import type { Vault } from '../vault/vault.ts'
import { type IssuedToken, saveIssuedToken } from './queries.ts'
import type { IssuedTokenSet, Spool } from './spool.ts'

/** `superseded`: the connection has a newer token or is gone. `kept`: the database is away; saved as soon as it is back. */
export type SaveOutcome = 'saved' | 'superseded' | 'kept'

export type TokenSaver = {
  save(issued: IssuedTokenSet): Promise<SaveOutcome>
  /** Saves what an earlier process had to leave behind. @returns how many there were. */
  takeUpSpool(): Promise<number>
  /** Tries once more to save what is kept, then leaves it in the spool for the next start. */
  close(): Promise<void>
}

const FIRST_RETRY_MS = 100
const LONGEST_RETRY_MS = 5_000
/** A save takes milliseconds; what takes longer may take until the statement's limit. */
const HESITATION_MS = 500

export const createTokenSaver = (deps: {
  db: Database
  vault: Vault
  spool: Spool
  logger: Logger
}): TokenSaver => {
  const { db, vault, spool, logger } = deps
  const closing = new AbortController()
  const kept = new Map<string, Promise<void>>()
  const untilSaved = retry(handleAll, {
    maxAttempts: Number.POSITIVE_INFINITY,
    backoff: new ExponentialBackoff({ initialDelay: FIRST_RETRY_MS, maxDelay: LONGEST_RETRY_MS }),
  })

  const saveOnce = async (issued: IssuedTokenSet): Promise<SaveOutcome> => {
    const saved = await saveIssuedToken(
      db,
      issued.connectionId,
      await seal(vault, issued),
      await vault.tokenHash(issued.accessToken),
    )
    if (saved) return 'saved'
    logger.warn(
      { connection_id: issued.connectionId, token_version: issued.tokenVersion },
      'a newer token was there',
    )
    return 'superseded'
  }

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
        await saveOnce(issued)
        await spool.remove(issued)
        log.info('a kept token is saved')
      }, closing.signal)
      .catch((error: unknown) =>
        log.error({ err: error }, 'a kept token waits in the spool for the next start'),
      )
      .finally(() => kept.delete(issued.connectionId))
    kept.set(issued.connectionId, saving)
  }

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
      if (await spare) await spool.remove(issued)
      return outcome
    } finally {
      clearTimeout(hesitating)
      await spare
    }
  }

  const saveOrKeep = async (issued: IssuedTokenSet): Promise<SaveOutcome> => {
    try {
      return await saveWithSpare(issued)
    } catch (error) {
      logger.error({ err: error, connection_id: issued.connectionId }, 'saving a token failed')
      await keep(issued)
      return 'kept'
    }
  }

  return {
    save: saveOrKeep,

    async takeUpSpool() {
      const left = await spool.list()
      for (const issued of left) {
        const outcome = await saveOrKeep(issued)
        if (outcome !== 'kept') await spool.remove(issued)
        logger.warn({ connection_id: issued.connectionId, outcome }, 'a token from the spool was taken up')
      }
      return left.length
    },

    async close() {
      closing.abort()
      await Promise.allSettled(kept.values())
    },
  }
}

const seal = async (vault: Vault, issued: IssuedTokenSet): Promise<IssuedToken> => {
  const binding = { ownerId: issued.connectionId, version: issued.tokenVersion }
  const { accessToken, refreshToken } = issued
  return {
    token_version: issued.tokenVersion,
    access_token: await vault.seal(accessToken, { ...binding, use: 'access' }),
    refresh_token:
      refreshToken === null ? null : await vault.seal(refreshToken, { ...binding, use: 'refresh' }),
    token_issued_at: issued.issuedAt,
    token_expires_at: issued.expiresAt,
    scopes: issued.scopes,
  }
}
