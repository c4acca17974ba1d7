import { type Actor, mayActIn, type Origin, type Principal } from '../../callers/principal.ts'
import { findSession, reopenSession } from '../../connect-sessions/queries.ts'
import type { Receipt } from '../../connect-sessions/receipt.ts'
import { type DisconnectDeps, type Disconnected, disconnect } from '../../connections/disconnect.ts'
import { Problem } from '../../errors/problem.ts'
import { findConnection } from '../../token-lifecycle/queries.ts'

/**
 * Takes back what a browser has just connected, and opens the link again for a second try.
 * @param member who is signed in; undefined = nobody
 * @throws {Problem} not_found, unauthorized
 */
export const undo = async (
  deps: DisconnectDeps,
  receipt: Receipt,
  member: Principal | undefined,
  origin: Origin,
): Promise<Disconnected & { baseUrl: string }> => {
  const { db } = deps
  const row = await findConnection(db, receipt.connectionId)
  if (!receipt.created || !row) throw new Problem('not_found')
  const { connectSessionId, issuedToUs } = receipt
  const session = connectSessionId === null ? undefined : await findSession(db, connectSessionId)
  const accessKeyId =
    session?.access_key_id ?? (member && mayActIn(member, row.organization) ? member.id : undefined)
  if (accessKeyId === undefined) throw new Problem('unauthorized')
  const actor: Actor = { accessKeyId, ...origin }
  const disconnected = await disconnect(deps, row.id, { revoke: issuedToUs }, actor)
  if (session) await reopenSession(db, session.id)
  return { ...disconnected, baseUrl: row.base_url }
}
