import type { Database } from '../../db/database.ts'

/** A request for many credentials, as its caller names it. */
export type BatchName = {
  accessKeyId: string
  /** '' = the access key itself. */
  subject: string
  keySha256: Buffer
}

const named = ({ accessKeyId, subject, keySha256 }: BatchName) => ({
  access_key_id: accessKeyId,
  subject,
  key_sha256: keySha256,
})

/**
 * Claims a batch until a time: nobody else works on it meanwhile.
 * @returns undefined when somebody does, or when an earlier request of this name was another.
 */
export const claimBatch = (
  db: Database,
  name: BatchName,
  { requestSha256, now, until }: { requestSha256: Buffer; now: Date; until: Date },
): Promise<{ lease_ids: string[] | null } | undefined> =>
  db
    .insertInto('lease_batches')
    .values({
      ...named(name),
      request_sha256: requestSha256,
      lease_ids: null,
      claimed_until: until,
      created_at: now,
    })
    .onConflict((conflict) =>
      conflict
        .columns(['access_key_id', 'subject', 'key_sha256'])
        .doUpdateSet({ claimed_until: until })
        .where('lease_batches.request_sha256', '=', requestSha256)
        .where(({ eb, or }) =>
          or([eb('lease_batches.claimed_until', 'is', null), eb('lease_batches.claimed_until', '<=', now)]),
        ),
    )
    .returning('lease_ids')
    .executeTakeFirst()

export const findBatchRequest = async (db: Database, name: BatchName): Promise<Buffer | undefined> => {
  const { accessKeyId, subject, keySha256 } = name
  const row = await db
    .selectFrom('lease_batches')
    .select('request_sha256')
    .where('access_key_id', '=', accessKeyId)
    .where('subject', '=', subject)
    .where('key_sha256', '=', keySha256)
    .executeTakeFirst()
  return row?.request_sha256
}

/** @param leaseIds in the order of the requests; '' = a request that got no lease. */
export const finishBatch = async (db: Database, name: BatchName, leaseIds: string[]): Promise<void> => {
  const { accessKeyId, subject, keySha256 } = name
  await db
    .updateTable('lease_batches')
    .set({ lease_ids: leaseIds, claimed_until: null })
    .where('access_key_id', '=', accessKeyId)
    .where('subject', '=', subject)
    .where('key_sha256', '=', keySha256)
    .execute()
}

/** @returns how many rows went. */
export const deleteBatchesBefore = async (db: Database, time: Date): Promise<number> => {
  const { numDeletedRows } = await db
    .deleteFrom('lease_batches')
    .where('created_at', '<', time)
    .executeTakeFirstOrThrow()
  return Number(numDeletedRows)
}
