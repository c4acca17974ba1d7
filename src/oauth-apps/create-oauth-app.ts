import { recordChange } from '../audit/record-change.ts'
import type { Actor } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { OAuthAppRow } from '../db/tables.ts'
import { notFound } from '../errors/problem.ts'
import { findInstance } from '../instances/queries.ts'
import type { Vault } from '../vault/vault.ts'
import { auditDetails } from './oauth-app.ts'
import { type NewOAuthApp, saveNewApp } from './save-oauth-app.ts'

/** @throws {Problem} not_found (the instance), oauth_app_exists */
export const createOAuthApp = async (
  deps: { db: Database; vault: Vault; clock: Clock },
  app: NewOAuthApp,
  actor: Actor,
): Promise<OAuthAppRow> => {
  if (!(await findInstance(deps.db, app.instanceId))) throw notFound('instance')
  return recordChange(deps, actor, {
    action: 'oauth_app.created',
    change: (transaction) => saveNewApp(transaction, deps, app),
    details: auditDetails,
  })
}
