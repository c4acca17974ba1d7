import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { invalidField, notFound } from '../errors/problem.ts'
import { readGroup } from '../gitlab/urls/pasted-group.ts'
import { resolveAddress } from '../instances/resolve-instance.ts'
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
  const instance = base_url === undefined ? undefined : (await resolveAddress(db, base_url, clock)).instance
  const baseUrl = instance?.base_url ?? null
  if (connection_id === undefined) {
    const read = group !== undefined && instance ? readGroup(group, instance) : undefined
    if (read && 'fault' in read)
      throw invalidField('group', 'is not the path or URL of a group or project at base_url')
    // Without an instance its URL cannot be told from a path: read when the person has connected somewhere.
    return { connectionId: null, baseUrl, group: read?.path ?? group?.trim() ?? null }
  }
  const row = await findConnection(db, connection_id)
  if (row?.organization !== organization) throw notFound('connection')
  if (baseUrl !== null && baseUrl !== row.base_url)
    throw invalidField('base_url', 'is another instance than the one of the connection')
  if (group !== undefined) throw invalidField('group', 'is said by the connection that is reconnected')
  return { connectionId: row.id, baseUrl: row.base_url, group: null }
}
