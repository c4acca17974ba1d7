import type { Actor } from '../callers/principal.ts'
import { Problem } from '../errors/problem.ts'
import type { GitLabAccess } from '../instances/gitlab-access.ts'
import { requireAcceptable } from './check-token.ts'
import type { ConnectedToken } from './save-connection.ts'
import { type Acceptance, findTarget, refuseStranger, requirePlaces, takeOver } from './take-over.ts'

/**
 * Replaces the stored token by a pasted one. GitLab verifies the new one first.
 * @throws {Problem} not_found, different_identity, group_out_of_reach, and the other problems of check-token.ts
 */
export const replaceToken = async (
  access: GitLabAccess,
  connectionId: string,
  pasted: string,
  actor: Actor,
  accepts: Acceptance = false,
): Promise<void> => {
  const { db, vault, clock } = access
  const target = await findTarget(db, connectionId)
  const { row } = target
  const checked = await requireAcceptable(access, {
    baseUrl: row.base_url,
    organizations: [row.organization],
    token: pasted,
    covers: target.places,
    // Before anything else is asked about the token: what is not wanted is told first.
    refuse: (facts) => {
      const isOAuth = facts.kind === 'oauth_access_token'
      if (accepts === false && isOAuth !== (row.method === 'oauth')) return wrongMethod(isOAuth)
      return refuseStranger(target, accepts)(facts)
    },
  })
  const now = new Date(clock())
  const { kind, user, scopes, issuedAt, expiresAt } = checked.facts
  const connected: ConnectedToken = {
    organization: row.organization,
    instanceId: row.instance_id,
    method: kind === 'oauth_access_token' ? 'oauth' : 'token',
    kind,
    user,
    places: requirePlaces(checked, target),
    oauthAppId: null,
    autoRotate: undefined,
    accessToken: checked.token,
    refreshToken: null,
    scopes,
    issuedAt: issuedAt ?? now,
    expiresAt,
    verifiedAt: now,
  }
  const event = { ...actor, at: now }
  await takeOver(db, vault, { connectionId, token: connected, accepts, event, action: 'connection.updated' })
}

const wrongMethod = (isOAuth: boolean): Problem =>
  new Problem(
    'different_identity',
    `This token is ${isOAuth ? 'of OAuth, and the connection is not' : 'not of OAuth, and the connection is'}. Send accept_new_identity to change that, or make a connection of its own for it.`,
  )
