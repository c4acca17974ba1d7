import type { webcrypto } from 'node:crypto'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { DataKeyRow } from '../db/tables.ts'
import { dataKeyIdAfter, newDataKey, unwrapDataKey, WrongMasterKeyError, wrapDataKey } from './data-key.ts'
import { findDataKey, insertFirstDataKey, listDataKeys } from './queries.ts'

export { WrongMasterKeyError } from './data-key.ts'

export type KeyRing = {
  /** The data key that new ciphertexts use. */
  current(): { kid: string; key: webcrypto.CryptoKey }
  /** A data key by id; asks the database once for one that another replica has made since. */
  byId(kid: string): Promise<webcrypto.CryptoKey | undefined>
  /** Reads the data keys anew: one that was made since becomes the current one. */
  follow(): Promise<void>
}

const importDataKey = (raw: Uint8Array): Promise<webcrypto.CryptoKey> =>
  crypto.subtle.importKey('raw', Uint8Array.from(raw), 'AES-GCM', false, ['encrypt', 'decrypt'])

/** The newest that is not retired. */
export const currentDataKey = <Row extends Pick<DataKeyRow, 'retired_at'>>(rows: Row[]): Row | undefined =>
  rows.filter(({ retired_at }) => retired_at === null).at(-1)

/**
 * Opens the data keys of this database, and makes the first one in a fresh database.
 * @param masterKeys the current one first; 32 bytes each.
 * @throws {WrongMasterKeyError}
 */
export const openKeyRing = async (db: Database, masterKeys: Uint8Array[], clock: Clock): Promise<KeyRing> => {
  const [currentMasterKey] = masterKeys
  if (!currentMasterKey) throw new Error('A master key is needed')

  if ((await listDataKeys(db)).length === 0) {
    const id = dataKeyIdAfter(undefined)
    await insertFirstDataKey(db, {
      id,
      wrapped_key: await wrapDataKey(newDataKey(), id, currentMasterKey),
      created_at: new Date(clock()),
    })
    // Another replica may have been first: what the database holds counts.
  }

  const keys = new Map<string, webcrypto.CryptoKey>()
  let kid: string | undefined

  const open = async (row: DataKeyRow): Promise<webcrypto.CryptoKey> => {
    const known = keys.get(row.id)
    if (known) return known
    const unwrapped = await unwrapDataKey(row, masterKeys)
    if (!unwrapped) throw new WrongMasterKeyError()
    const key = await importDataKey(unwrapped.raw)
    keys.set(row.id, key)
    return key
  }

  const follow = async (): Promise<void> => {
    const rows = await listDataKeys(db)
    for (const row of rows) await open(row)
    const current = currentDataKey(rows)
    if (current) kid = current.id
    else if (kid === undefined) throw new Error('Every data key of this database is retired')
  }
  await follow()

  return {
    current: () => ({ kid: kid!, key: keys.get(kid!)! }),
    async byId(id) {
      const known = keys.get(id)
      if (known) return known
      const row = await findDataKey(db, id)
      return row && open(row)
    },
    follow,
  }
}
