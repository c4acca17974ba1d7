import { CompactEncrypt, compactDecrypt } from 'jose'
import { v7 as uuidv7 } from 'uuid'
import type { DataKeyRow } from '../db/tables.ts'

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

export const newDataKey = (): Uint8Array => crypto.getRandomValues(new Uint8Array(DATA_KEY_BYTES))

/** The id of the newest data key sorts last, also when this machine's clock is behind the one that made the last. */
export const dataKeyIdAfter = (last: string | undefined): string => {
  const id = uuidv7()
  if (last === undefined || id > last) return id
  return uuidv7({ msecs: Number.parseInt(last.replace('-', '').slice(0, 12), 16) + 1 })
}

export const wrapDataKey = (raw: Uint8Array, kid: string, masterKey: Uint8Array): Promise<string> =>
  new CompactEncrypt(raw).setProtectedHeader({ ...WRAPPING, kid, use: 'data_key' }).encrypt(masterKey)

export type UnwrappedDataKey = {
  raw: Uint8Array
  /** The place of the master key that opens it in the list: 0 = the current one. */
  masterKey: number
}

/** @returns undefined when none of these master keys opens it. */
export const unwrapDataKey = async (
  { id, wrapped_key }: Pick<DataKeyRow, 'id' | 'wrapped_key'>,
  masterKeys: Uint8Array[],
): Promise<UnwrappedDataKey | undefined> => {
  for (const [place, masterKey] of masterKeys.entries()) {
    const opened = await compactDecrypt(wrapped_key, masterKey, {
      keyManagementAlgorithms: [WRAPPING.alg],
      contentEncryptionAlgorithms: [WRAPPING.enc],
    }).catch(() => undefined)
    if (opened?.protectedHeader.kid === id) return { raw: opened.plaintext, masterKey: place }
  }
  return undefined
}
