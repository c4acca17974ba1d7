import { type Database, isDatabaseUnavailable } from '../../db/database.ts'
import { isLockTimeout } from '../../db/sqlstate.ts'
import { shareCalls } from '../../share.ts'
import type { TokenToSave } from '../queries.ts'
import { saveIssuedTokens } from './queries.ts'

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
export const createSharedSaves = (db: Database): ((token: TokenToSave) => Promise<boolean>) => {
  const oneByOne = (tokens: TokenToSave[]) =>
    Promise.all(tokens.map((token) => settled(saveIssuedTokens(db, [token]))))

  const save = shareCalls(async (tokens: TokenToSave[]): Promise<Saved[]> => {
    const isOnce = new Set(tokens.map(({ connectionId }) => connectionId)).size === tokens.length
    if (!isOnce) return oneByOne(tokens)
    try {
      return (await saveIssuedTokens(db, tokens)).map((saved) => ({ saved }))
    } catch (error) {
      const isAway = isDatabaseUnavailable(error) && !isLockTimeout(error)
      if (tokens.length === 1 || isAway) throw error
      return oneByOne(tokens)
    }
  })

  return async (token) => {
    const result = await save(token)
    if ('error' in result) throw result.error
    return result.saved
  }
}
