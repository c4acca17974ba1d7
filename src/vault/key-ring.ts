import type { webcrypto } from 'node:crypto'
import { CompactEncrypt, compactDecrypt } from 'jose'
import { v7 as uuidv7 } from 'uuid'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { DataKeyRow } from '../db/tables.ts'
import { findDataKey, insertFirstDataKey, listDataKeys } from './queries.ts'

export type KeyRing = {
  /** The data key that new ciphertexts use. */
  current(): { kid: string; key: webcrypto.CryptoKey }
  /** A data key by id; asks the database once for one that another replica has made since. */
  byId(kid: string): Promise<webcrypto.CryptoKey | undefined>
}

/** The master key is not the one that wrapped the data keys in this database. */
export class WrongMasterKeyError extends Error {
  constructor() {
    super(
      'MASTER_KEY does not open the data keys of this database: it is not the key with which they were made. ' +
        'Start with the original key; after a rotation, list both: MASTER_KEY=<new>,<old>.',
    )
    this.name = 'WrongMasterKeyError'
  }
}

const WRAPPING = { alg: 'A256GCMKW', enc: 'A256GCM' } as const
const DATA_KEY_BYTES = 32

const importDataKey = (raw: Uint8Array): Promise<webcrypto.CryptoKey> =>
  crypto.subtle.importKey('raw', Uint8Array.from(raw), 'AES-GCM', false, ['encrypt', 'decrypt'])

const wrap = (raw: Uint8Array, kid: string, masterKey: Uint8Array): Promise<string> =>
  new CompactEncrypt(raw).setProtectedHeader({ ...WRAPPING, kid, use: 'data_key' }).encrypt(masterKey)

const unwrap = async (
  { id, wrapped_key }: DataKeyRow,
  masterKeys: Uint8Array[],
): Promise<webcrypto.CryptoKey> => {
  for (const masterKey of masterKeys) {
    const opened = await compactDecrypt(wrapped_key, masterKey, {
      keyManagementAlgorithms: [WRAPPING.alg],
      contentEncryptionAlgorithms: [WRAPPING.enc],
    }).catch(() => undefined)
    if (opened?.protectedHeader.kid === id) return importDataKey(opened.plaintext)
  }
  throw new WrongMasterKeyError()
}

/**
 * Opens the data keys of this database, and makes the first one in a fresh database.
 * @param masterKeys the current one first; 32 bytes each.
 * @throws {WrongMasterKeyError}
 */
export const openKeyRing = async (db: Database, masterKeys: Uint8Array[], clock: Clock): Promise<KeyRing> => {
  const [currentMasterKey] = masterKeys
  if (!currentMasterKey) throw new Error('A master key is needed')

  let rows = await listDataKeys(db)
  if (rows.length === 0) {
    const id = uuidv7()
    const raw = crypto.getRandomValues(new Uint8Array(DATA_KEY_BYTES))
    await insertFirstDataKey(db, {
      id,
      wrapped_key: await wrap(raw, id, currentMasterKey),
      created_at: new Date(clock()),
    })
    // Another replica may have been first: what the database holds counts.
    rows = await listDataKeys(db)
  }

  const keys = new Map<string, webcrypto.CryptoKey>()
  for (const row of rows) keys.set(row.id, await unwrap(row, masterKeys))
  const kid = rows.filter(({ retired_at }) => retired_at === null).at(-1)?.id
  if (kid === undefined) throw new Error('Every data key of this database is retired')

  return {
    current: () => ({ kid, key: keys.get(kid)! }),
    async byId(id) {
      const known = keys.get(id)
      if (known) return known
      const row = await findDataKey(db, id)
      if (!row) return undefined
      const key = await unwrap(row, masterKeys)
      keys.set(id, key)
      return key
    },
  }
}
