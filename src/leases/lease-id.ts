import { randomFillSync } from 'node:crypto'
import { v7 as uuidv7 } from 'uuid'

const ID_BYTES = 16
const pool = new Uint8Array(256 * ID_BYTES)
let used = pool.length

const nextRandomBytes = (): Uint8Array => {
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  used += ID_BYTES
  return pool.subarray(used - ID_BYTES, used)
}

/** @returns the UUIDv7 of this time with zeros behind it. A lease from before this time has an id below it. */
export const firstIdAt = (time: Date): string => {
  const hex = time.getTime().toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000000`
}

/** The time in a UUIDv7. */
export const timeOfId = (id: string): Date => new Date(Number.parseInt(id.replace('-', '').slice(0, 12), 16))

/**
 * A UUIDv7 (RFC 9562, section 5.7). Random bytes are drawn for many at once: drawing them one by one would take a
 * tenth of a lookup.
 */
export const newLeaseId = (): string => uuidv7({ rng: nextRandomBytes })
