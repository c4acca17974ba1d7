import type { Actor } from '../callers/principal.ts'
import type { Database } from '../db/database.ts'
import type { InstanceRow, OAuthAppRow } from '../db/tables.ts'
import { invalidField, notFound, Problem } from '../errors/problem.ts'
import type { TokenFacts } from '../gitlab/inspect-token.ts'
import { requirePasted } from '../http/pasted-field.ts'
import type { GitLabAccess } from '../instances/gitlab-access.ts'
import { ensureStored } from '../instances/resolve-instance.ts'
import { findOAuthAppBySlug } from '../oauth-apps/queries.ts'
import { type CheckedToken, requireAcceptable, requireSelfRotation } from './check-token.ts'
import {
  type Alongside,
  type ConnectedToken,
  type SavedConnection,
  saveConnection,
} from './save-connection.ts'
import {
  type Acceptance,
  findTarget,
  refuseStranger,
  requirePlaces,
  type Target,
  takeOver,
} from './take-over.ts'

/** Where a pasted token goes. */
type Destination = {
  organization: string
  name?: string | undefined
  baseUrl?: string | undefined
  labels?: Record<string, string> | undefined
  /** A connection of the organization that the token revives; undefined = a connection of its own. */
  into?: { connectionId: string; accepts: Acceptance } | undefined
  /** Makes another connection, also where the account has one for the same places. */
  separate?: boolean | undefined
}

export type PastedAccessToken = Destination & {
  token: string
  group?: string | undefined
  autoRotate?: boolean | undefined
}

const refuseOAuth = ({ kind }: TokenFacts): Problem | undefined =>
  kind === 'oauth_access_token'
    ? new Problem(
        'wrong_token_kind',
        'This is an OAuth access token: connect it with POST /v1/connections/oauth-token.',
      )
    : undefined

const refuseAllButOAuth = ({ kind }: TokenFacts): Problem | undefined =>
  kind === 'oauth_access_token'
    ? undefined
    : new Problem(
        'wrong_token_kind',
        'This is a personal, group or project access token: connect it with POST /v1/connections/personal-access-token.',
      )

/**
 * Connects a personal, group or project access token; GitLab verifies it first.
 * @param alongside what has to happen together with it, or not at all.
 */
export const connectAccessToken = async (
  access: GitLabAccess,
  pasted: PastedAccessToken,
  actor: Actor,
  alongside?: Alongside,
): Promise<SavedConnection> => {
  const { token, group, autoRotate } = pasted
  const target = await findOwnTarget(access.db, pasted)
  const checked = await requireAcceptable(access, {
    baseUrl: target?.row.base_url ?? pasted.baseUrl,
    organizations: [pasted.organization],
    token,
    ...(target ? { covers: target.places } : { group }),
    refuse: (facts) => refuseOAuth(facts) ?? (target && refuseStranger(target, target.accepts)(facts)),
  })
  if (autoRotate) requireSelfRotation(checked.facts)
  const given = {
    method: 'token',
    autoRotate,
    oauthAppId: null,
    accessToken: checked.token,
    refreshToken: null,
  } as const
  return save(access, { checked, pasted, target, given, alongside }, actor)
}

type OwnTarget = Target & { accepts: Acceptance }

/** @throws {Problem} not_found, when the connection is not of the organization */
const findOwnTarget = async (
  db: Database,
  { into, organization }: Destination,
): Promise<OwnTarget | undefined> => {
  if (!into) return undefined
  const target = await findTarget(db, into.connectionId)
  if (target.row.organization !== organization) throw notFound('connection')
  return { ...target, accepts: into.accepts }
}

export type PastedOAuthToken = Destination & {
  /** What the connection is limited to. */
  group?: string | undefined
  accessToken: string
  refreshToken?: string | undefined
  oauthApp?: string | undefined
}

/**
 * Connects an OAuth access token that was obtained elsewhere; without refresh token and app it lives until its end.
 * @param alongside what has to happen together with it, or not at all.
 */
export const connectOAuthToken = async (
  access: GitLabAccess,
  pasted: PastedOAuthToken,
  actor: Actor,
  alongside?: Alongside,
): Promise<SavedConnection> => {
  const { accessToken, refreshToken, oauthApp, group } = pasted
  if ((refreshToken === undefined) !== (oauthApp === undefined)) {
    throw invalidField(
      refreshToken === undefined ? 'refresh_token' : 'oauth_app',
      'is needed too: a refresh takes both',
    )
  }
  const readRefreshToken = refreshToken && requirePasted('refresh_token', refreshToken).value
  const target = await findOwnTarget(access.db, pasted)
  const checked = await requireAcceptable(access, {
    baseUrl: target?.row.base_url ?? pasted.baseUrl,
    organizations: [pasted.organization],
    token: accessToken,
    field: 'access_token',
    ...(target ? { covers: target.places } : { group }),
    refuse: (facts) => refuseAllButOAuth(facts) ?? (target && refuseStranger(target, target.accepts)(facts)),
  })
  const app = oauthApp === undefined ? undefined : await requireApp(access.db, checked, oauthApp)
  const given = {
    method: 'oauth',
    autoRotate: false,
    oauthAppId: app?.id ?? null,
    accessToken: checked.token,
    refreshToken: readRefreshToken ?? null,
  } as const
  return save(access, { checked, pasted, target, given, alongside }, actor)
}

/** The app to which GitLab issued a token. */
const requireApp = async (
  db: Database,
  { instance, facts }: { instance: InstanceRow; facts: TokenFacts },
  slug: string,
): Promise<OAuthAppRow> => {
  const app = await findOAuthAppBySlug(db, slug)
  if (!app) throw invalidField('oauth_app', 'is not the slug of an OAuth app')
  if (app.instance_id !== instance.id)
    throw invalidField('oauth_app', 'belongs to another instance than base_url')
  if (facts.clientId !== null && facts.clientId !== app.client_id)
    throw invalidField('oauth_app', 'is not the app to which GitLab issued this token')
  return app
}

type ToSave = {
  checked: CheckedToken
  pasted: Destination
  target: OwnTarget | undefined
  given: Pick<ConnectedToken, 'method' | 'autoRotate' | 'oauthAppId' | 'accessToken' | 'refreshToken'>
  alongside: Alongside | undefined
}

const save = async (
  { db, vault, clock }: GitLabAccess,
  { checked, pasted, target, given, alongside }: ToSave,
  actor: Actor,
): Promise<SavedConnection> => {
  const { instance, facts } = checked
  const { organization, name, labels, separate } = pasted
  const now = new Date(clock())
  const { kind, user, scopes, issuedAt, expiresAt } = facts
  const token = {
    ...given,
    organization,
    name,
    labels,
    places: requirePlaces(checked, target),
    instanceId: (await ensureStored(db, instance)).id,
    kind,
    user,
    scopes,
    issuedAt: issuedAt ?? now,
    expiresAt,
    verifiedAt: now,
  }
  const event = { ...actor, at: now }
  if (!target) return saveConnection(db, vault, token, event, { alongside, separate })
  const connectionId = target.row.id
  const { accepts } = target
  await takeOver(db, vault, {
    connectionId,
    token,
    accepts,
    event,
    action: 'connection.reconnected',
    alongside,
  })
  return { id: connectionId, created: false, replaced: true }
}
