import { type Kysely, sql } from 'kysely'

/**
 * What requests for many credentials at once with an Idempotency-Key were answered with, so that a repeated one gets
 * the same leases. A broker of an earlier version knows no such requests.
 */
export const up = async (db: Kysely<unknown>): Promise<void> => {
  await sql`create table lease_batches (
    access_key_id uuid not null,
    subject text not null,
    key_sha256 bytea not null,
    request_sha256 bytea not null,
    lease_ids text[],
    claimed_until timestamptz,
    created_at timestamptz not null,
    primary key (access_key_id, subject, key_sha256)
  )`.execute(db)
  await sql`create index lease_batches_by_time on lease_batches (created_at)`.execute(db)
}
