import { v7 as uuidv7 } from 'uuid'
import type { Clock } from '../clock/clock.ts'
import type { Config } from '../config/config.ts'
import type { Database } from '../db/database.ts'
import { isForeignKeyViolation } from '../db/sqlstate.ts'
import { Problem } from '../errors/problem.ts'
import { readAddress } from '../gitlab/urls/pasted-address.ts'
import { findInstanceByBaseUrl, insertInstanceIfAbsent } from '../instances/queries.ts'
import type { Vault } from '../vault/vault.ts'
import { deleteOAuthAppRow, findOAuthAppBySlug } from './queries.ts'
import { openClientSecret, saveChangedApp, saveNewApp } from './save-oauth-app.ts'

/** The slug of the app that comes from GITLAB_CLIENT_ID and GITLAB_CLIENT_SECRET. */
export const CONFIGURED_SLUG = 'gitlab-com'

/** Registers the OAuth app from the environment at start, and follows it when it changes. */
export const ensureConfiguredApp = async (
  db: Database,
  deps: { vault: Vault; clock: Clock },
  { clientId, clientSecret, baseUrl, scopes }: NonNullable<Config['gitlabApp']>,
): Promise<void> => {
  const canonical = readAddress(baseUrl)?.baseUrl
  if (canonical === undefined) throw new Error('GITLAB_BASE_URL is not the URL of a server')
  const now = new Date(deps.clock())
  const instance =
    (await findInstanceByBaseUrl(db, canonical)) ??
    (await insertInstanceIfAbsent(db, {
      id: uuidv7(),
      base_url: canonical,
      name: new URL(canonical).host,
      allow_private_network: false,
      ca_certificate: null,
      version: 1,
      created_at: now,
      updated_at: now,
    }))
  const app = await findOAuthAppBySlug(db, CONFIGURED_SLUG)
  const wanted = { clientId, clientSecret, scopes }
  if (app === undefined || app.instance_id !== instance.id) {
    if (app) await deleteUnused(db, app.id)
    await saveNewApp(db, deps, { ...wanted, slug: CONFIGURED_SLUG, instanceId: instance.id }).catch(
      (error: unknown) => {
        // Another replica that starts now with the same environment was first.
        if (!(error instanceof Problem && error.code === 'oauth_app_exists')) throw error
      },
    )
    return
  }
  const isSame =
    app.client_id === clientId &&
    (await openClientSecret(deps.vault, app)) === clientSecret &&
    app.scopes.join(' ') === scopes.join(' ')
  if (isSame) return
  await db.transaction().execute((transaction) => saveChangedApp(transaction, deps, app.id, wanted))
}

/** An app cannot follow GITLAB_BASE_URL to another GitLab while connections refresh through it at the old one. */
const deleteUnused = async (db: Database, id: string): Promise<void> => {
  try {
    await deleteOAuthAppRow(db, id)
  } catch (error) {
    if (!isForeignKeyViolation(error)) throw error
    throw new Error(
      `GITLAB_BASE_URL names another GitLab than the OAuth app "${CONFIGURED_SLUG}", through which connections are kept alive. Put the old value back, or disconnect them first; further apps are added with POST /v1/oauth-apps.`,
    )
  }
}
