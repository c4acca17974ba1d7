import type { Logger } from 'pino'
import { addSeconds } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { TokenSet } from '../oauth-apps/token-answer.ts'
import type { Vault } from '../vault/vault.ts'
import { type IssuedToken, saveIssuedToken } from './queries.ts'

/** A token set that GitLab issued and that exists nowhere else yet. */
export type IssuedTokenSet = {
  connectionId: string
  attemptId: string
  /** The version that it becomes. */
  tokenVersion: number
  answeredAt: Date
  tokenSet: TokenSet
}

export type TokenSaver = {
  /** Saves under the attempt. Resolves when the token is in the database. */
  save(issued: IssuedTokenSet): Promise<void>
}

export const createTokenSaver = ({
  db,
  vault,
  logger,
}: {
  db: Database
  vault: Vault
  logger: Logger
}): TokenSaver => ({
  async save(issued) {
    const saved = await saveIssuedToken(db, issued.connectionId, issued.attemptId, await seal(vault, issued))
    if (!saved)
      logger.warn(
        { connection_id: issued.connectionId, attempt_id: issued.attemptId },
        'another writer was faster',
      )
  },
})

const seal = async (
  vault: Vault,
  { connectionId, tokenVersion, answeredAt, tokenSet }: IssuedTokenSet,
): Promise<IssuedToken> => {
  const binding = { ownerId: connectionId, version: tokenVersion }
  return {
    token_version: tokenVersion,
    access_token: await vault.seal(tokenSet.accessToken, { ...binding, use: 'access' }),
    refresh_token:
      tokenSet.refreshToken === null
        ? null
        : await vault.seal(tokenSet.refreshToken, { ...binding, use: 'refresh' }),
    token_issued_at: answeredAt,
    token_expires_at: tokenSet.expiresIn === null ? null : addSeconds(answeredAt, tokenSet.expiresIn),
    scopes: tokenSet.scopes,
  }
}
