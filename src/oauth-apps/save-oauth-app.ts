import { v7 as uuidv7 } from 'uuid'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { isUniqueViolation } from '../db/sqlstate.ts'
import type { OAuthAppRow } from '../db/tables.ts'
import { notFound, Problem } from '../errors/problem.ts'
import type { Vault } from '../vault/vault.ts'
import { findOAuthAppForUpdate, insertOAuthApp, updateOAuthApp } from './queries.ts'

type Deps = { vault: Vault; clock: Clock }

export type NewOAuthApp = {
  slug: string
  instanceId: string
  clientId: string
  clientSecret: string
  scopes: string[]
}

/** Seals the secret and inserts the row. @throws {Problem} oauth_app_exists */
export const saveNewApp = async (
  db: Database,
  { vault, clock }: Deps,
  app: NewOAuthApp,
): Promise<OAuthAppRow> => {
  const id = uuidv7()
  const now = new Date(clock())
  try {
    return await insertOAuthApp(db, {
      id,
      slug: app.slug,
      instance_id: app.instanceId,
      client_id: app.clientId,
      client_secret: await vault.seal(app.clientSecret, { ownerId: id, version: 1, use: 'client_secret' }),
      scopes: app.scopes,
      version: 1,
      created_at: now,
      updated_at: now,
    })
  } catch (error) {
    if (isUniqueViolation(error))
      throw new Problem('oauth_app_exists', `There is already an OAuth app "${app.slug}".`)
    throw error
  }
}

export type OAuthAppChanges = {
  clientId?: string | undefined
  clientSecret?: string | undefined
  scopes?: string[] | undefined
}

/**
 * The secret is sealed anew for the new version, changed or not: a ciphertext opens for one version only.
 * @throws {Problem} not_found
 */
export const saveChangedApp = async (
  transaction: Database,
  { vault, clock }: Deps,
  id: string,
  changes: OAuthAppChanges,
): Promise<OAuthAppRow> => {
  const row = await findOAuthAppForUpdate(transaction, id)
  if (!row) throw notFound('OAuth app')
  const clientSecret = changes.clientSecret ?? (await openClientSecret(vault, row))
  return updateOAuthApp(transaction, id, {
    client_id: changes.clientId ?? row.client_id,
    client_secret: await vault.seal(clientSecret, {
      ownerId: id,
      version: row.version + 1,
      use: 'client_secret',
    }),
    scopes: changes.scopes ?? row.scopes,
    updated_at: new Date(clock()),
  })
}

/** As it was stored, before secrets were read: see oauth-clients.ts for what is sent. */
export const openClientSecret = (
  vault: Vault,
  { id, version, client_secret }: OAuthAppRow,
): Promise<string> => vault.open(client_secret, { ownerId: id, version, use: 'client_secret' })
