import { LRUCache } from 'lru-cache'
import type { WayToIdentify } from '../callers/authenticator.ts'
import type { Principal } from '../callers/principal.ts'
import type { Database } from '../db/database.ts'
import type { AccessKeyRow } from '../db/tables.ts'
import { hashAccessKey, isMistyped, nameAccessKey } from './key-format.ts'
import { findAccessKey, findAccessKeyByHash } from './queries.ts'

/** 10,000 keys are about 5 MB. */
const REMEMBERED_KEYS = 10_000

/**
 * What a key may do. A key is created and deleted, never changed: what is remembered of one is right for as long as its
 * row is there.
 */
export const toPrincipal = (row: AccessKeyRow): Principal => ({
  id: row.id,
  name: row.name,
  role: row.role,
  organizations: row.organizations,
  restrictions: {
    urlPrefixes: row.restricted_url_prefixes ?? undefined,
    connections: row.restricted_connections ?? undefined,
    readOnly: row.read_only,
  },
  encryptionKey: row.encryption_key ?? undefined,
  requiresSealed: row.require_sealed,
  subject: null,
  expiresAt: row.expires_at,
})

/** Identifies callers by their access key. */
export const createAccessKeyIdentification = (db: Database): WayToIdentify => {
  const remembered = new LRUCache<string, Principal>({ max: REMEMBERED_KEYS })
  return {
    async identify(key) {
      if (isMistyped(key)) return undefined
      const row = await findAccessKeyByHash(db, hashAccessKey(key))
      const name = nameAccessKey(key)
      if (!row) {
        remembered.delete(name)
        return undefined
      }
      const principal = toPrincipal(row)
      remembered.set(name, principal)
      return principal
    },
    remembered: (key) => remembered.get(nameAccessKey(key)),
  }
}

/**
 * Who is signed in on the page with an access key, by the id of the key; undefined when the key is deleted. The page
 * changes things, which a read-only key does not.
 */
export const findPrincipal = async (db: Database, accessKeyId: string): Promise<Principal | undefined> => {
  const row = await findAccessKey(db, accessKeyId)
  return row && !row.read_only ? toPrincipal(row) : undefined
}
