import { recordAuditEvent } from '../audit/queries.ts'
import type { Actor } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { ConnectionRow } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { requireSelfRotation } from './check-token.ts'
import { updateSettings } from './queries.ts'

export type ConnectionSettings = Partial<Pick<ConnectionRow, 'name' | 'auto_rotate' | 'labels'>>

/** @throws {Problem} wrong_token_kind, missing_scopes */
export const updateConnection = async (
  { db, clock }: { db: Database; clock: Clock },
  row: Pick<ConnectionRow, 'id' | 'organization' | 'method' | 'scopes'>,
  settings: ConnectionSettings,
  actor: Actor,
): Promise<void> => {
  if (settings.auto_rotate) {
    if (row.method === 'oauth')
      throw new Problem(
        'wrong_token_kind',
        'An OAuth token is refreshed by itself; only access tokens are rotated.',
      )
    requireSelfRotation(row)
  }
  const now = new Date(clock())
  await db.transaction().execute(async (transaction) => {
    await updateSettings(transaction, row.id, settings, now)
    await recordAuditEvent(transaction, {
      at: now,
      action: 'connection.updated',
      organization: row.organization,
      subjectId: row.id,
      details: { change: Object.keys(settings).join(' ') },
      ...actor,
    })
  })
}
