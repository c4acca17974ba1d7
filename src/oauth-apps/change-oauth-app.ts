import { recordChange } from '../audit/record-change.ts'
import type { Actor } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { OAuthAppRow } from '../db/tables.ts'
import type { Vault } from '../vault/vault.ts'
import { auditDetails } from './oauth-app.ts'
import { type OAuthAppChanges, saveChangedApp } from './save-oauth-app.ts'

/** @throws {Problem} not_found */
export const changeOAuthApp = (
  deps: { db: Database; vault: Vault; clock: Clock },
  id: string,
  changes: OAuthAppChanges,
  actor: Actor,
): Promise<OAuthAppRow> =>
  recordChange(deps, actor, {
    action: 'oauth_app.updated',
    change: (transaction) => saveChangedApp(transaction, deps, id, changes),
    details: auditDetails,
  })
