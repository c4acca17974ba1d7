import { recordAuditEvent } from '../audit/queries.ts'
import { mayActIn, type Principal } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { notFound } from '../errors/problem.ts'
import { deleteAccessKey as deleteRow, findAccessKey } from './queries.ts'

/** @throws {Problem} not_found, also for a key of organizations outside the caller's */
export const deleteAccessKey = async (
  { db, clock }: { db: Database; clock: Clock },
  id: string,
  principal: Principal,
  requestId: string,
): Promise<void> => {
  const row = await findAccessKey(db, id)
  if (!row?.organizations.every((organization) => mayActIn(principal, organization)))
    throw notFound('access key')
  await db.transaction().execute(async (transaction) => {
    if (!(await deleteRow(transaction, row.id))) throw notFound('access key')
    await recordAuditEvent(transaction, {
      at: new Date(clock()),
      action: 'access_key.deleted',
      accessKeyId: principal.id,
      subjectId: row.id,
      requestId,
      details: { name: row.name },
    })
  })
}
