import { recordChange } from '../audit/record-change.ts'
import type { Actor } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { isForeignKeyViolation } from '../db/sqlstate.ts'
import { notFound, Problem } from '../errors/problem.ts'
import { auditDetails } from './oauth-app.ts'
import { deleteOAuthAppRow } from './queries.ts'

/** @throws {Problem} not_found, oauth_app_in_use */
export const deleteOAuthApp = async (
  deps: { db: Database; clock: Clock },
  id: string,
  actor: Actor,
): Promise<void> => {
  await recordChange(deps, actor, {
    action: 'oauth_app.deleted',
    async change(transaction) {
      const deleted = await deleteOAuthAppRow(transaction, id)
      if (!deleted) throw notFound('OAuth app')
      return deleted
    },
    details: auditDetails,
    conflict: {
      when: isForeignKeyViolation,
      problem: () =>
        new Problem('oauth_app_in_use', 'Connections still refresh through this app. Disconnect them first.'),
    },
  })
}
