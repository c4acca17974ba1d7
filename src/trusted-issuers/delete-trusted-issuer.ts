import { onlyOrganization } from '../access-keys/organizations.ts'
import { findIssuerRules } from '../access-keys/queries.ts'
import { recordAuditEvent } from '../audit/queries.ts'
import { type Origin, organizationsOf, type Principal } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { notFound } from '../errors/problem.ts'
import { deleteTrustedIssuer as deleteRow, findTrustedIssuer } from './queries.ts'

/** Trusts an issuer no longer; its tokens stop working at once. @throws {Problem} not_found */
export const deleteTrustedIssuer = async (
  { db, clock }: { db: Database; clock: Clock },
  id: string,
  principal: Principal,
  origin: Origin,
): Promise<void> => {
  const row = await findTrustedIssuer(db, id, organizationsOf(principal))
  if (!row) throw notFound('trusted issuer')
  const rules = await findIssuerRules(db, [row.id])
  await db.transaction().execute(async (transaction) => {
    if (!(await deleteRow(transaction, row.id))) throw notFound('trusted issuer')
    await recordAuditEvent(transaction, {
      at: new Date(clock()),
      action: 'trusted_issuer.deleted',
      organization: onlyOrganization([...new Set(rules.flatMap(({ organizations }) => organizations))]),
      accessKeyId: principal.id,
      subjectId: row.id,
      ...origin,
      details: { issuer: row.issuer, audience: row.audience },
    })
  })
}
