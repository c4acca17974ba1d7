import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { invalidField, notFound } from '../errors/problem.ts'
import { resolveInstance } from '../instances/resolve-instance.ts'
import { findConnection } from '../token-lifecycle/queries.ts'

type Asked = {
  organization: string
  connection_id?: string
  base_url?: string
  group?: string
}

export type Purpose = { connectionId: string | null; baseUrl: string | null; group: string | null }

/**
 * What a connect link is for. A connection that is reconnected says itself where it is, and what it covers.
 * @throws {Problem} not_found, invalid_request
 */
export const findPurpose = async (
  { db, clock }: { db: Database; clock: Clock },
  { organization, connection_id, base_url, group }: Asked,
): Promise<Purpose> => {
  const baseUrl = base_url === undefined ? null : (await resolveInstance(db, base_url, clock)).base_url
  if (connection_id === undefined) return { connectionId: null, baseUrl, group: group?.trim() ?? null }
  const row = await findConnection(db, connection_id)
  if (row?.organization !== organization) throw notFound('connection')
  if (baseUrl !== null && baseUrl !== row.base_url)
    throw invalidField('base_url', 'is another instance than the one of the connection')
  if (group !== undefined) throw invalidField('group', 'is said by the connection that is reconnected')
  return { connectionId: row.id, baseUrl: row.base_url, group: null }
}
