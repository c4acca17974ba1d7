import { LRUCache } from 'lru-cache'
import type { Match } from './grants/queries.ts'

/** Which connection each URL got, by `nameMatch`. */
export type KnownMatches = Pick<LRUCache<string, Match>, 'get' | 'set' | 'delete'>

/** Some 10,000 URLs, and at the most about 10 MB. */
const KEPT_CHARACTERS = 4_000_000
/** What an entry takes beside its text. */
const ENTRY_CHARACTERS = 200

/**
 * Spares a URL that was looked up before the search: that the match still holds is checked by the statement that
 * grants, so it can be kept for any time and by any number of processes.
 */
export const createKnownMatches = (): KnownMatches =>
  new LRUCache<string, Match>({
    maxSize: KEPT_CHARACTERS,
    sizeCalculation: ({ scopes }, name) => name.length + scopes.join().length + ENTRY_CHARACTERS,
  })

/** One access key may see what another does not. */
export const nameMatch = (accessKeyId: string, organization: string | undefined, url: string): string =>
  `${accessKeyId} ${organization ?? ''} ${url}`
