import { LRUCache } from 'lru-cache'
import type { Vault } from '../vault/vault.ts'
import type { GrantRow } from './queries.ts'

export type OpenedTokens = {
  /** The token of a granted row. */
  open(row: Pick<GrantRow, 'connection_id' | 'token_version'> & { access_token: string }): Promise<string>
}

/** About 10 MB at the most. */
const KEPT_TOKENS = 10_000
const KEPT_MS = 60_000

/**
 * Opens a ciphertext once a minute instead of once a lookup. Kept by the ciphertext itself, which the database gives
 * out only with a granted lease: a token that was replaced, moved or tampered with is never found here.
 */
export const createOpenedTokens = (vault: Vault): OpenedTokens => {
  const opened = new LRUCache<string, string>({
    max: KEPT_TOKENS,
    ttl: KEPT_MS,
    perf: { now: () => performance.now() },
  })
  return {
    async open({ connection_id, token_version, access_token }) {
      const key = `${connection_id}:${token_version}:${access_token}`
      const kept = opened.get(key)
      if (kept !== undefined) return kept
      const token = await vault.open(access_token, {
        ownerId: connection_id,
        version: token_version,
        use: 'access',
      })
      opened.set(key, token)
      return token
    },
  }
}
