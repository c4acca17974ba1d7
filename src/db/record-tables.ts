import type { Generated } from 'kysely'

/** The tables of the record: who did what, and who got which token. */

export type AuditOutcome = 'success' | 'refused' | 'failed'

export type AuditEvents = {
  id: string
  at: Date
  access_key_id: string | null
  organization: string | null
  action: string
  subject_id: string | null
  request_id: string | null
  details: string
  /** From where it came: the address of the client. */
  address: string | null
  outcome: Generated<AuditOutcome>
  /** HMAC-SHA-256 of the token that the act concerns (vault/named-keys.ts), in hex. */
  token_hash: string | null
}

/** Filled by a trigger; src/audit/seals empties it. */
export type AuditUnsealed = {
  event_id: string
  queued_at: Generated<Date>
}

export type AuditSeals = {
  id: string
  at: Date
  first_event: string | null
  last_event: string | null
  event_count: number
  events: string[]
  /** SHA-256 of each event, in the order of `events`, in hex. */
  event_hashes: string[]
  /** The beginning of the hour whose leases it covers. */
  lease_hour: Date | null
  lease_count: string | null
  lease_sha256: string | null
  previous_sha256: string
  sha256: string
  /** HMAC-SHA-256 of sha256, in hex. */
  mac: string
}

/** Kept by src/leases/record: which leases an access key got of an organization in ten minutes. */
export type LeaseSlots = {
  organization: string
  slot: Date
  access_key_id: string
  first_id: string
  last_id: string
  granted_from: Date
  granted_to: Date
}
