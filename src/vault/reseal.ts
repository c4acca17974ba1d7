import { setTimeout as pause } from 'node:timers/promises'
import type { KeyRing } from './key-ring.ts'
import { type SecretBinding, type Vault, VaultError } from './vault.ts'

/**
 * The header of every ciphertext of ours begins with these 36 bytes, then the 36 of the id of its data key. Both are 48
 * characters in base64url, because 36 is divisible by three: so SQL can tell the data key without decoding.
 */
const HEADER_START = '{"alg":"dir","enc":"A256GCM","kid":"'
export const HEADER_LENGTH = 96

/** The first HEADER_LENGTH characters of every ciphertext under a data key. */
export const headerOf = (kid: string): string => Buffer.from(HEADER_START + kid).toString('base64url')

/** The data key that a ciphertext needs; undefined when this is none of ours. */
export const dataKeyOf = (header: string): string | undefined => {
  const text = Buffer.from(header, 'base64url').toString('latin1')
  return text.startsWith(HEADER_START) ? text.slice(HEADER_START.length) : undefined
}

export type SealedText = { jwe: string; binding: SecretBinding }
/** The ciphertexts of one row, which change together. */
export type SealedRow = { id: string; sealed: SealedText[] }
export type ResealedRow = { id: string; before: string[]; after: string[] }

/** A table that holds ciphertexts. The room that owns the table gives one. */
export type SealedTable = {
  name: string
  /** How many rows have a ciphertext that does not begin so. */
  countOthers(header: string): Promise<number>
  /** How many ciphertexts begin with which HEADER_LENGTH characters. */
  countByHeader(): Promise<{ header: string; count: number }[]>
  /** Rows of which a ciphertext does not begin so, by id. */
  findOthers(header: string, after: string | undefined, limit: number): Promise<SealedRow[]>
  /**
   * Compare and swap: writes only where the ciphertexts are still those of `before`, and waits for no locked row.
   * @returns how many rows were written.
   */
  save(rows: ResealedRow[]): Promise<number>
}

export type Progress = { table: string; done: number; total: number }
export type Resealed = {
  /** Rows that were encrypted anew. */
  done: number
  /** Rows that others kept locked or kept changing: for the next run. */
  left: number
  damaged: { table: string; id: string }[]
}

/** So few that a lookup which finds a row locked by the statement has it a few milliseconds later. */
const ROWS_AT_ONCE = 50
/** A row that is locked or was changed meanwhile is tried again in the next pass. */
const MOST_PASSES = 20
const BETWEEN_PASSES_MS = 250

/**
 * Encrypts anew, under the current data key, whatever is under another. What is done stays done: ended at any moment,
 * the next run goes on. What is written meanwhile by others is never overwritten.
 * @param isOver asked after each batch: true ends the run early.
 */
export const resealAll = async (
  { keyRing, vault }: { keyRing: Pick<KeyRing, 'current'>; vault: Pick<Vault, 'seal' | 'open'> },
  tables: SealedTable[],
  { onProgress, isOver }: { onProgress?: (progress: Progress) => void; isOver?: () => boolean } = {},
): Promise<Resealed> => {
  const result: Resealed = { done: 0, left: 0, damaged: [] }
  for (const table of tables) {
    const total = await table.countOthers(headerOf(keyRing.current().kid))
    const damaged = new Set<string>()
    let done = 0
    let left = 0
    for (let passNumber = 0; passNumber < MOST_PASSES; passNumber += 1) {
      left = 0
      let after: string | undefined
      for (;;) {
        if (isOver?.()) return result
        const header = headerOf(keyRing.current().kid)
        const rows = await table.findOthers(header, after, ROWS_AT_ONCE)
        if (rows.length === 0) break
        after = rows.at(-1)?.id
        const resealed = await resealRows(vault, rows, (id) => damaged.add(id))
        const written = resealed.length === 0 ? 0 : await table.save(resealed)
        left += resealed.length - written
        result.done += written
        done += written
        onProgress?.({ table: table.name, done, total: Math.max(done, total) })
      }
      if (left === 0) break
      await pause(BETWEEN_PASSES_MS)
    }
    // Rows that others wrote under the new data key meanwhile were counted, and needed nothing.
    if (left === 0 && done < total) onProgress?.({ table: table.name, done: total, total })
    result.left += left
    result.damaged.push(...[...damaged].map((id) => ({ table: table.name, id })))
  }
  return result
}

const resealRows = async (
  vault: Pick<Vault, 'seal' | 'open'>,
  rows: SealedRow[],
  onDamaged: (id: string) => void,
): Promise<ResealedRow[]> => {
  const resealed: ResealedRow[] = []
  for (const { id, sealed } of rows) {
    try {
      const after: string[] = []
      for (const { jwe, binding } of sealed)
        after.push(await vault.seal(await vault.open(jwe, binding), binding))
      resealed.push({ id, before: sealed.map(({ jwe }) => jwe), after })
    } catch (error) {
      if (!(error instanceof VaultError)) throw error
      onDamaged(id)
    }
  }
  return resealed
}
