import { recordAuditEvent } from '../audit/queries.ts'
import { mayActIn, type Origin, type Principal } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { notFound } from '../errors/problem.ts'
import { onlyOrganization } from './organizations.ts'
import { deleteAccessKey as deleteRow, findAccessKey } from './queries.ts'

/** @throws {Problem} not_found, also for a key of organizations outside the caller's */
export const deleteAccessKey = async (
  { db, clock }: { db: Database; clock: Clock },
  id: string,
  principal: Principal,
  origin: Origin,
): Promise<void> => {
  const row = await findAccessKey(db, id)
  if (!row?.organizations.every((organization) => mayActIn(principal, organization)))
    throw notFound('access key')
  await db.transaction().execute(async (transaction) => {
    if (!(await deleteRow(transaction, row.id))) throw notFound('access key')
    await recordAuditEvent(transaction, {
      at: new Date(clock()),
      action: 'access_key.deleted',
      organization: onlyOrganization(row.organizations),
      accessKeyId: principal.id,
      subjectId: row.id,
      ...origin,
      details: { name: row.name },
    })
  })
}
