/** Leases whose token was not handed out, but can be fetched once. */
export type WrappedLeases = {
  lease_id: string
  handle_sha256: Buffer
  expires_at: Date
  opened_at: Date | null
}

/** Requests for many credentials with an Idempotency-Key, and which leases each got. */
export type LeaseBatches = {
  access_key_id: string
  subject: string
  key_sha256: Buffer
  request_sha256: Buffer
  lease_ids: string[] | null
  claimed_until: Date | null
  created_at: Date
}
