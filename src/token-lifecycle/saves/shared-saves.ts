import { type Database, isDatabaseUnavailable, type RunPrepared } from '../../db/database.ts'
import { isLockTimeout } from '../../db/sqlstate.ts'
import { shareCalls } from '../../share.ts'
import type { TokenToSave } from '../queries.ts'
import { saveIssuedTokens, saveWhereFree } from './queries.ts'

type Saved = { saved: boolean } | { error: unknown }

const settled = async (saving: Promise<boolean[]>): Promise<Saved> =>
  saving.then(
    ([saved]) => ({ saved: saved === true }),
    (error: unknown) => ({ error }),
  )

/**
 * Saves issued tokens, many in one statement. A token that the database does not take, and a
 * row that somebody has locked, keep no other from being saved.
 * @returns whether the connection had an older token.
 */
export const createSharedSaves = ({
  db,
  runPrepared,
}: {
  db: Database
  runPrepared: RunPrepared
}): ((token: TokenToSave) => Promise<boolean>) => {
  const saveOne = (token: TokenToSave) => settled(saveIssuedTokens(db, [token]))

  const save = shareCalls(async (tokens: TokenToSave[]): Promise<Saved[]> => {
    const isOnce = new Set(tokens.map(({ connectionId }) => connectionId)).size === tokens.length
    if (!isOnce) return Promise.all(tokens.map(saveOne))
    try {
      const saved = await saveWhereFree(runPrepared, tokens)
      // What was not saved has other scopes, a newer token, is gone, or is locked: the statement that waits tells.
      return await Promise.all(
        tokens.map((token, index) => (saved[index] ? { saved: true } : saveOne(token))),
      )
    } catch (error) {
      const isAway = isDatabaseUnavailable(error) && !isLockTimeout(error)
      if (tokens.length === 1 || isAway) throw error
      return Promise.all(tokens.map(saveOne))
    }
  })

  return async (token) => {
    const result = await save(token)
    if ('error' in result) throw result.error
    return result.saved
  }
}
