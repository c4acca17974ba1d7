import { LRUCache } from 'lru-cache'
import type { Vault } from '../vault/vault.ts'
import type { LeasedRow } from './lease.ts'

export type OpenedTokens = {
  /** The token of a leased row. */
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
export const createOpenedTokens = (vault: Vault): OpenedTokens => {
  type Opened = { version: number; jwe: string; token: Promise<string> }
  const kept = new LRUCache<string, Opened>({
    max: KEPT_TOKENS,
    ttl: KEPT_MS,
    // The end of an entry may be noticed this late: the clock is not read for each look-up.
    ttlResolution: 1_000,
    perf: { now: () => performance.now() },
  })
  return {
    open({ connection_id, token_version, access_token }) {
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
