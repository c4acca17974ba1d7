import type { AuditActor } from '../audit/queries.ts'
import { addSeconds, startOfSecond } from '../clock/clock.ts'
import { findSession, markSessionUsed } from '../connect-sessions/queries.ts'
import { type SavedConnection, saveConnection } from '../connections/save-connection.ts'
import type { AuthorizationRequestRow, InstanceRow, OAuthAppRow } from '../db/tables.ts'
import { notFound, Problem } from '../errors/problem.ts'
import { inspectOAuthToken } from '../gitlab/inspect-token.ts'
import { refusalProblem } from '../gitlab/refusal.ts'
import { findInstance } from '../instances/queries.ts'
import { findOAuthApp } from '../oauth-apps/queries.ts'
import type { TokenSet } from '../oauth-apps/token-answer.ts'
import type { FlowDeps } from './flow-deps.ts'
import { findAuthorizationRequest, forgetGrant, saveGrant } from './queries.ts'

type StoredGrant = TokenSet & { issuedAt: string }

const bindingOf = ({ id }: AuthorizationRequestRow) => ({ ownerId: id, version: 1, use: 'grant' }) as const

/** Save first: what GitLab just issued exists nowhere else. */
export const keepGrant = async (
  { db, vault, clock }: FlowDeps,
  request: AuthorizationRequestRow,
  tokenSet: TokenSet,
  sentAt: Date,
): Promise<AuthorizationRequestRow> => {
  const now = new Date(clock())
  const grant: StoredGrant = { ...tokenSet, issuedAt: startOfSecond(sentAt).toISOString() }
  const grantJwe = await vault.seal(JSON.stringify(grant), bindingOf(request))
  await saveGrant(db, request.id, grantJwe, now)
  return { ...request, grant_jwe: grantJwe, granted_at: now }
}

/**
 * Makes a connection of a kept grant: asks GitLab whose it is, saves it, forgets the grant, ends the session.
 * May be tried again while GitLab does not answer.
 * @throws {Problem} session_expired, gitlab_unavailable and other refusals
 */
export const completeGrant = async (
  deps: FlowDeps,
  request: AuthorizationRequestRow,
  app: OAuthAppRow,
  instance: InstanceRow,
  from: Pick<AuditActor, 'requestId' | 'address'>,
): Promise<SavedConnection> => {
  const { db, vault, clock, instanceClients } = deps
  if (request.grant_jwe === null) throw new Problem('callback_replayed')
  const session = await findSession(db, request.connect_session_id)
  if (!session) throw new Problem('session_expired')
  const grant = JSON.parse(await vault.open(request.grant_jwe, bindingOf(request))) as StoredGrant
  const inspection = await inspectOAuthToken(
    instanceClients.for(instance),
    grant.accessToken,
    new Date(clock()),
  )
  if (!inspection.valid) {
    // An outage says nothing about the grant; any other refusal is final, and what is of no use is not kept.
    if (inspection.refusal.code !== 'gitlab_unavailable') await forgetGrant(db, request.id)
    throw refusalProblem(inspection.refusal)
  }

  const now = new Date(clock())
  const issuedAt = new Date(grant.issuedAt)
  const { facts } = inspection
  return saveConnection(
    db,
    vault,
    {
      organization: session.organization,
      instanceId: instance.id,
      method: 'oauth',
      kind: 'oauth_access_token',
      user: facts.user,
      groupPath: '',
      oauthAppId: app.id,
      autoRotate: false,
      accessToken: grant.accessToken,
      refreshToken: grant.refreshToken,
      scopes: grant.scopes.length > 0 ? grant.scopes : facts.scopes,
      issuedAt,
      expiresAt: grant.expiresIn === null ? null : addSeconds(issuedAt, grant.expiresIn),
      verifiedAt: now,
    },
    { accessKeyId: session.access_key_id, ...from, at: now },
    // A link connects once, however many authorizations it began end at the same moment.
    async (transaction) => {
      await forgetGrant(transaction, request.id)
      if (!(await markSessionUsed(transaction, session.id, now))) throw new Problem('session_expired')
    },
  ).catch(async (error: unknown) => {
    if (error instanceof Problem && error.code === 'session_expired') await forgetGrant(db, request.id)
    throw error
  })
}

/** The same without a browser, for a grant that is waiting for GitLab to answer again. */
export const completePendingGrant = async (deps: FlowDeps, id: string): Promise<SavedConnection> => {
  const request = await findAuthorizationRequest(deps.db, id)
  const app = request && (await findOAuthApp(deps.db, request.oauth_app_id))
  const instance = app && (await findInstance(deps.db, app.instance_id))
  if (!request || !app || !instance) throw notFound('grant')
  return completeGrant(deps, request, app, instance, { requestId: id })
}
