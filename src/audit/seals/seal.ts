import { createHash } from 'node:crypto'
import type { AuditSealRow } from '../../db/tables.ts'

/** An event as it is hashed: each column as text, as the database writes it, in a fixed order. */
export type CanonicalEvent = { id: string; text: string }

/** The leases of one hour, by the time in their ids. */
export type LeaseDigest = { hour: Date; count: number; sha256: string }

/** What a seal says; its hash goes over all of it. */
export type SealContent = {
  id: number
  at: Date
  events: { id: string; sha256: string }[]
  leases: LeaseDigest | undefined
  /** The sha256 of the seal before. */
  previous: string
}

/** Before the first seal. */
export const GENESIS = '0'.repeat(64)

export const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

/** In JSON, whose form is fixed by the order of the members. */
export const hashSeal = ({ id, at, events, leases, previous }: SealContent): string =>
  sha256(
    JSON.stringify([
      'audit-seal-1',
      id,
      at.toISOString(),
      events.map((event) => [event.id, event.sha256]),
      leases ? [leases.hour.toISOString(), leases.count, leases.sha256] : null,
      previous,
    ]),
  )

/** What the columns of a stored seal say. */
export const contentOf = (row: AuditSealRow): SealContent => ({
  id: Number(row.id),
  at: row.at,
  events: row.events.map((id, index) => ({ id, sha256: row.event_hashes[index] ?? '' })),
  leases:
    row.lease_hour === null
      ? undefined
      : { hour: row.lease_hour, count: Number(row.lease_count), sha256: row.lease_sha256 ?? '' },
  previous: row.previous_sha256,
})

const HOUR_MS = 3_600_000

export const startOfHour = (time: Date): Date => new Date(Math.floor(time.getTime() / HOUR_MS) * HOUR_MS)
export const hourAfter = (hour: Date): Date => new Date(hour.getTime() + HOUR_MS)
