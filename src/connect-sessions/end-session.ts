import { recordAuditEvent } from '../audit/queries.ts'
import type { Actor } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { ConnectSessionRow } from '../db/tables.ts'
import { endSession } from './queries.ts'

/** Ends a link that is open; one that was used, or has ended, stays as it is. */
export const endConnectSession = (
  { db, clock }: { db: Database; clock: Clock },
  { id, organization }: ConnectSessionRow,
  caller: Actor,
): Promise<void> =>
  db.transaction().execute(async (transaction) => {
    const at = new Date(clock())
    if (!(await endSession(transaction, id, at))) return
    await recordAuditEvent(transaction, {
      at,
      action: 'connect_session.ended',
      organization,
      subjectId: id,
      ...caller,
    })
  })
