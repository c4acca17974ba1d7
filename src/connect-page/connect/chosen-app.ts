import type { Database } from '../../db/database.ts'
import { invalidField } from '../../errors/problem.ts'
import { canonicalBaseUrl } from '../../gitlab/base-url.ts'
import { readField } from '../form-fields.ts'
import { findOfferedApp, listOfferedApps, type OfferedApp } from './queries.ts'

/** The OAuth app that somebody chose in a form; undefined = none. */
export const findChosenApp = async (db: Database, body: unknown): Promise<OfferedApp | undefined> => {
  const slug = readField(body, 'oauth_app')
  return slug === undefined ? undefined : findOfferedApp(db, slug)
}

/**
 * The server to which the token of a form goes. It is the server of the chosen app; a form that names another server
 * as well is refused, unless the other one is only what the form suggested.
 * @throws {Problem} invalid_request
 */
export const baseUrlOf = async (
  db: Database,
  body: unknown,
  app: OfferedApp | undefined,
): Promise<string | undefined> => {
  const typed = readField(body, 'base_url')
  if (!app || typed === undefined) return app?.base_url ?? typed
  const [suggested] = await listOfferedApps(db, 1)
  const named = canonicalBaseUrl(typed)
  if (named !== app.base_url && named !== suggested?.base_url) {
    throw invalidField('base_url', 'names another server than the application')
  }
  return app.base_url
}
