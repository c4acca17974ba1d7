import type { Database } from '../db/database.ts'
import type { InstanceRow, OAuthAppRow } from '../db/tables.ts'
import { notFound } from '../errors/problem.ts'
import { findInstance } from '../instances/queries.ts'
import { findOAuthApp, findOAuthAppBySlug } from '../oauth-apps/queries.ts'

/** Through which app, at which GitLab. */
export type AppAndInstance = { app: OAuthAppRow; instance: InstanceRow }

/** @throws {Problem} not_found */
export const requireApp = async (
  db: Database,
  by: { slug: string } | { id: string },
): Promise<AppAndInstance> => {
  const app = 'slug' in by ? await findOAuthAppBySlug(db, by.slug) : await findOAuthApp(db, by.id)
  const instance = app && (await findInstance(db, app.instance_id))
  if (!app || !instance) throw notFound('OAuth app')
  return { app, instance }
}

/** What the state parameter carries, encrypted, through GitLab and back. */
export const stateBinding = (app: OAuthAppRow) => ({ ownerId: app.id, version: 1, use: 'state' }) as const
