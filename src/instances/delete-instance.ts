import { recordChange } from '../audit/record-change.ts'
import type { Actor } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { isForeignKeyViolation } from '../db/sqlstate.ts'
import { notFound, Problem } from '../errors/problem.ts'
import { auditDetails } from './instance.ts'
import { deleteInstanceRow } from './queries.ts'

/** @throws {Problem} not_found, instance_in_use */
export const deleteInstance = async (
  deps: { db: Database; clock: Clock },
  id: string,
  actor: Actor,
): Promise<void> => {
  await recordChange(deps, actor, {
    action: 'instance.deleted',
    async change(transaction) {
      const deleted = await deleteInstanceRow(transaction, id)
      if (!deleted) throw notFound('instance')
      return deleted
    },
    details: auditDetails,
    conflict: {
      when: isForeignKeyViolation,
      problem: () =>
        new Problem(
          'instance_in_use',
          'OAuth apps or connections still use the instance. Delete them first.',
        ),
    },
  })
}
