import { v7 as uuidv7 } from 'uuid'
import { recordAuditEvent } from '../audit/queries.ts'
import type { Actor } from '../callers/principal.ts'
import { notFound, Problem } from '../errors/problem.ts'
import type { TokenFacts } from '../gitlab/inspect-token.ts'
import type { GitLabAccess } from '../instances/gitlab-access.ts'
import { requireSettled, requireUnclaimed } from '../token-lifecycle/claim.ts'
import { findConnection, lockConnection, saveReplacedToken } from '../token-lifecycle/queries.ts'
import { isRefreshable } from '../token-lifecycle/refresh-decision.ts'
import { requireAcceptable } from './check-token.ts'

/**
 * Replaces the stored token by a new one of the same account and method. GitLab verifies the new one first.
 * @throws {Problem} not_found, different_identity, group_out_of_reach, and the other problems of check-token.ts
 */
export const replaceToken = async (
  access: GitLabAccess,
  connectionId: string,
  pasted: string,
  actor: Actor,
): Promise<void> => {
  const { db, vault, clock } = access
  const row = await findConnection(db, connectionId)
  if (!row) throw notFound('connection')
  const { facts, token } = await requireAcceptable(access, {
    baseUrl: row.base_url,
    organizations: [row.organization],
    token: pasted,
    group: row.group_path,
    refuse: ({ user, kind }: TokenFacts) =>
      user.id === row.gitlab_user_id && (kind === 'oauth_access_token') === (row.method === 'oauth')
        ? undefined
        : differentIdentity(),
  })
  const now = new Date(clock())
  // Before the transaction: the embedded database has one connection. A token that does not open can be replaced too.
  const binding = { ownerId: connectionId, version: row.token_version, use: 'access' } as const
  const isSame = (await vault.open(row.access_token, binding).catch(() => undefined)) === token
  const tokenHash = await vault.tokenHash(token)
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
    if (isSame && current.token_version === row.token_version) requireSettled(current, now)
    const version = current.token_version + 1
    await saveReplacedToken(transaction, connectionId, {
      token_version: version,
      grant_id: uuidv7(),
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
      tokenHash,
      details: { change: 'token replaced', token_version: version, instance_id: current.instance_id },
      ...actor,
    })
  })
}

const differentIdentity = (): Problem =>
  new Problem(
    'different_identity',
    'This token belongs to another account, or is of another kind. Make a connection of its own for it.',
  )
