import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import {
  dataKeyIdAfter,
  newDataKey,
  type UnwrappedDataKey,
  unwrapDataKey,
  WrongMasterKeyError,
  wrapDataKey,
} from './data-key.ts'
import { currentDataKey } from './key-ring.ts'
import { insertNextDataKey, listDataKeys, retireDataKeys, saveWrappedKey } from './queries.ts'
import { dataKeyOf, type SealedTable } from './reseal.ts'

const DAY_MS = 86_400_000

type Deps = { db: Database; masterKeys: Uint8Array[]; clock: Clock }

const currentMasterKey = ([first]: Uint8Array[]): Uint8Array => {
  if (!first) throw new Error('A master key is needed')
  return first
}

/**
 * Wraps every data key under the first master key. Brokers that serve hold the data keys opened, and notice nothing.
 * @returns how many were wrapped anew.
 * @throws {WrongMasterKeyError} when none of the master keys opens one.
 */
export const rewrapDataKeys = async ({ db, masterKeys }: Deps): Promise<number> => {
  const rows = await listDataKeys(db)
  const opened = await Promise.all(rows.map((row) => unwrapDataKey(row, masterKeys)))
  if (opened.includes(undefined)) throw new WrongMasterKeyError()
  let count = 0
  for (const [index, row] of rows.entries()) {
    const { raw, masterKey } = opened[index] as UnwrappedDataKey
    if (masterKey === 0) continue
    const wrapped = await wrapDataKey(raw, row.id, currentMasterKey(masterKeys))
    if (await saveWrappedKey(db, row, wrapped)) count += 1
  }
  return count
}

/** Makes a data key, wrapped by the first master key. @returns its id; undefined when another process just made one. */
export const makeDataKey = async ({ db, masterKeys, clock }: Deps): Promise<string | undefined> => {
  const last = (await listDataKeys(db)).at(-1)
  if (!last) return undefined
  const id = dataKeyIdAfter(last.id)
  const wrapped_key = await wrapDataKey(newDataKey(), id, currentMasterKey(masterKeys))
  const made = await insertNextDataKey(db, { id, wrapped_key, created_at: new Date(clock()) }, last.id)
  return made ? id : undefined
}

/**
 * Whether the current data key is too old. While a master key is being replaced the answer is no: a broker that has
 * only the old master key could not open a new data key.
 */
export const isDataKeyDue = async ({ db, masterKeys, clock }: Deps, maxAgeDays: number): Promise<boolean> => {
  const rows = await listDataKeys(db)
  const current = currentDataKey(rows)
  if (!current || current.created_at.getTime() > clock() - maxAgeDays * DAY_MS) return false
  const opened = await Promise.all(rows.map((row) => unwrapDataKey(row, masterKeys)))
  return opened.every((key) => key?.masterKey === 0)
}

/** Whether something may be under another data key than the current one: one is in use, or was until a day ago. */
export const hasEarlierDataKey = async ({ db, clock }: Pick<Deps, 'db' | 'clock'>): Promise<boolean> => {
  const rows = await listDataKeys(db)
  const current = currentDataKey(rows)
  return rows.some(
    ({ id, retired_at }) =>
      id !== current?.id && (retired_at === null || retired_at.getTime() > clock() - DAY_MS),
  )
}

/** Ciphertexts that the tables hold, by data key; those that are none of ours under undefined. */
export const countByDataKey = async (tables: SealedTable[]): Promise<Map<string | undefined, number>> => {
  const counts = new Map<string | undefined, number>()
  for (const table of tables) {
    for (const { header, count } of await table.countByHeader()) {
      const kid = dataKeyOf(header)
      counts.set(kid, (counts.get(kid) ?? 0) + count)
    }
  }
  return counts
}

/** Retires the data keys before the current one that no stored ciphertext needs. @returns their ids. */
export const retireUnusedDataKeys = async (
  { db, clock }: Pick<Deps, 'db' | 'clock'>,
  tables: SealedTable[],
): Promise<string[]> => {
  const rows = await listDataKeys(db)
  const current = currentDataKey(rows)
  const counts = await countByDataKey(tables)
  const unused = rows
    .filter(({ id, retired_at }) => retired_at === null && id !== current?.id && !counts.has(id))
    .map(({ id }) => id)
  await retireDataKeys(db, unused, new Date(clock()))
  return unused
}

export type DataKeyStatus = {
  id: string
  createdAt: Date
  retired: boolean
  current: boolean
  /** The place of the master key in the list; undefined = none of these opens it. */
  masterKey: number | undefined
  ciphertexts: number
}

/** How things stand with the keys: for `keys status`. */
export const describeDataKeys = async (
  { db, masterKeys }: Pick<Deps, 'db' | 'masterKeys'>,
  tables: SealedTable[],
): Promise<{ keys: DataKeyStatus[]; unknown: number }> => {
  const rows = await listDataKeys(db)
  const counts = await countByDataKey(tables)
  const current = currentDataKey(rows)
  const keys = await Promise.all(
    rows.map(
      async (row): Promise<DataKeyStatus> => ({
        id: row.id,
        createdAt: row.created_at,
        retired: row.retired_at !== null,
        current: row === current,
        masterKey: (await unwrapDataKey(row, masterKeys))?.masterKey,
        ciphertexts: counts.get(row.id) ?? 0,
      }),
    ),
  )
  const known = new Set<string | undefined>(rows.map(({ id }) => id))
  const unknown = [...counts].reduce((sum, [kid, count]) => sum + (known.has(kid) ? 0 : count), 0)
  return { keys, unknown }
}
