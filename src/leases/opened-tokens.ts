import { LRUCache } from 'lru-cache'
import type { DatabaseHistory } from '../token-lifecycle/history/watch-history.ts'
import type { Vault } from '../vault/vault.ts'
import type { LeasedRow } from './lease.ts'

export type OpenedTokens = {
  /** The token of a leased row. */
  /** @throws {Problem} database_unavailable while the database may have gone back */
  open(row: Pick<LeasedRow, 'connection_id' | 'token_version' | 'access_token'>): Promise<string>
}

/** About 10 MB at the most. */
const KEPT_TOKENS = 10_000
const KEPT_MS = 60_000

/**
 * Opens a ciphertext once a minute instead of once a lookup. A kept token counts only for the same version and
 * ciphertext, which the database gives out only with a lease. So a token that was replaced, moved or tampered with is
 * opened anew. A ciphertext that does not open is not kept.
 */
export const createOpenedTokens = (
  vault: Vault,
  history?: Pick<DatabaseHistory, 'requireSettled'>,
): OpenedTokens => {
  type Opened = { version: number; jwe: string; token: Promise<string> }
  const kept = new LRUCache<string, Opened>({
    max: KEPT_TOKENS,
    ttl: KEPT_MS,
    // The end of an entry may be noticed this late: the clock is not read for each look-up.
    ttlResolution: 1_000,
    perf: { now: () => performance.now() },
  })
  return {
    async open({ connection_id, token_version, access_token }) {
      // After the row was read: here every token passes that leaves.
      history?.requireSettled(connection_id)
      const known = kept.get(connection_id)
      if (known?.version === token_version && known.jwe === access_token) return known.token
      const token = vault.open(access_token, {
        ownerId: connection_id,
        version: token_version,
        use: 'access',
      })
      kept.set(connection_id, { version: token_version, jwe: access_token, token })
      token.catch(() => kept.delete(connection_id))
      return token
    },
  }
}
