import { v7 as uuidv7 } from 'uuid'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { InstanceRow } from '../db/tables.ts'
import { requireBaseUrl } from './instance.ts'
import { UNREGISTERED_ID } from './instance-clients.ts'
import { findInstanceByBaseUrl, insertInstanceIfAbsent } from './queries.ts'

export const DEFAULT_BASE_URL = 'https://gitlab.com'

/**
 * The instance at a base URL. One that no admin has registered is not stored yet and gets the strictest trust profile:
 * https with a publicly trusted certificate, on a public address.
 */
export const resolveInstance = async (
  db: Database,
  baseUrlText: string | undefined,
  clock: Clock,
): Promise<InstanceRow> => {
  const baseUrl = requireBaseUrl(baseUrlText ?? DEFAULT_BASE_URL)
  const known = await findInstanceByBaseUrl(db, baseUrl)
  if (known) return known
  const now = new Date(clock())
  return {
    id: UNREGISTERED_ID,
    base_url: baseUrl,
    name: new URL(baseUrl).host,
    allow_private_network: false,
    ca_certificate: null,
    proxy_url: null,
    version: 0,
    created_at: now,
    updated_at: now,
  }
}

/** Stores an instance that resolveInstance made up, now that a GitLab answered there. */
export const ensureStored = (db: Database, instance: InstanceRow): Promise<InstanceRow> =>
  instance.id === UNREGISTERED_ID
    ? insertInstanceIfAbsent(db, { ...instance, id: uuidv7() })
    : Promise.resolve(instance)
