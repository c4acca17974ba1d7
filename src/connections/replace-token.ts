import { recordAuditEvent } from '../audit/queries.ts'
import { notFound, Problem } from '../errors/problem.ts'
import { checkReach } from '../gitlab/reach.ts'
import { hasScope } from '../gitlab/scopes.ts'
import { requireUnclaimed } from './claim.ts'
import type { Caller, ConnectDeps } from './connect-token.ts'
import { isRefreshable } from './connection.ts'
import { findConnection, lockConnection, replaceToken as saveReplacement } from './queries.ts'
import { missingScopesProblem, requireUsable, toProblem, verifyToken } from './verify-token.ts'

/**
 * Puts a new token in the place of the stored one: of the same account and method, verified first.
 * @throws {Problem} not_found, different_identity, group_out_of_reach, and the refusals of verifyToken
 */
export const replaceToken = async (
  deps: ConnectDeps,
  connectionId: string,
  token: string,
  caller: Caller,
): Promise<void> => {
  const { db, vault, clock, instanceClients } = deps
  const row = await findConnection(db, connectionId)
  if (!row) throw notFound('connection')
  const { instance, inspection } = await verifyToken(deps, row.base_url, token)
  const facts = requireUsable(inspection)
  if (
    facts.user.id !== row.gitlab_user_id ||
    (facts.kind === 'oauth_access_token') !== (row.method === 'oauth')
  ) {
    throw new Problem(
      'different_identity',
      'This token belongs to another account, or is of another kind. Make a connection of its own for it.',
    )
  }
  if (row.group_path !== '') {
    if (!hasScope(facts.scopes, 'read_api'))
      throw missingScopesProblem(['read_api'], 'so that its reach can be checked')
    const reach = await checkReach(instanceClients.for(instance), token, row.group_path)
    if (!reach.reached) {
      throw reach.refusal
        ? toProblem(reach.refusal)
        : new Problem('group_out_of_reach', `The new token does not reach "${row.group_path}".`)
    }
  }
  const now = new Date(clock())
  await db.transaction().execute(async (transaction) => {
    const current = await lockConnection(transaction, connectionId)
    if (!current) throw notFound('connection')
    requireUnclaimed(current, now)
    if (current.status === 'active' && isRefreshable(current)) {
      throw new Problem(
        'wrong_token_kind',
        'This connection renews itself, which a pasted token could not: reconnect by OAuth instead.',
      )
    }
    const version = current.token_version + 1
    await saveReplacement(transaction, connectionId, {
      token_version: version,
      access_token: await vault.seal(token, { ownerId: connectionId, version, use: 'access' }),
      refresh_token: null,
      oauth_app_id: null,
      token_kind: facts.kind,
      scopes: facts.scopes,
      token_issued_at: facts.issuedAt ?? now,
      token_expires_at: facts.expiresAt,
      last_verified_at: now,
      updated_at: now,
    })
    await recordAuditEvent(transaction, {
      at: now,
      action: 'connection.updated',
      organization: current.organization,
      subjectId: connectionId,
      details: { change: 'token replaced', token_version: version },
      ...caller,
    })
  })
}
