import type { Actor } from '../callers/principal.ts'
import type { Database } from '../db/database.ts'
import type { InstanceRow, OAuthAppRow } from '../db/tables.ts'
import { invalidField, Problem } from '../errors/problem.ts'
import type { TokenFacts } from '../gitlab/inspect-token.ts'
import { requirePasted } from '../http/pasted-field.ts'
import type { GitLabAccess } from '../instances/gitlab-access.ts'
import { ensureStored } from '../instances/resolve-instance.ts'
import { findOAuthAppBySlug } from '../oauth-apps/queries.ts'
import { WHOLE_INSTANCE } from '../places/place.ts'
import { type CheckedToken, requireAcceptable, requireSelfRotation } from './check-token.ts'
import { groupRequired } from './find-places.ts'
import {
  type Alongside,
  type ConnectedToken,
  type SavedConnection,
  saveConnection,
} from './save-connection.ts'

export type PastedAccessToken = {
  organization: string
  name?: string | undefined
  baseUrl?: string | undefined
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
  { organization, name, baseUrl, token, group, autoRotate = false }: PastedAccessToken,
  actor: Actor,
  alongside?: Alongside,
): Promise<SavedConnection> => {
  const checked = await requireAcceptable(access, {
    baseUrl,
    organizations: [organization],
    token,
    group,
    refuse: refuseOAuth,
  })
  if (!checked.places) throw groupRequired()
  if (autoRotate) requireSelfRotation(checked.facts)
  return save(
    access,
    checked,
    actor,
    {
      organization,
      name,
      method: 'token',
      places: checked.places,
      autoRotate,
      oauthAppId: null,
      accessToken: checked.token,
      refreshToken: null,
    },
    alongside,
  )
}

export type PastedOAuthToken = {
  organization: string
  name?: string | undefined
  baseUrl?: string | undefined
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
  { organization, name, baseUrl, accessToken, refreshToken, oauthApp }: PastedOAuthToken,
  actor: Actor,
  alongside?: Alongside,
): Promise<SavedConnection> => {
  if ((refreshToken === undefined) !== (oauthApp === undefined)) {
    throw invalidField(
      refreshToken === undefined ? 'refresh_token' : 'oauth_app',
      'is needed too: a refresh takes both',
    )
  }
  const readRefreshToken = refreshToken && requirePasted('refresh_token', refreshToken).value
  const checked = await requireAcceptable(access, {
    baseUrl,
    organizations: [organization],
    token: accessToken,
    field: 'access_token',
    refuse: refuseAllButOAuth,
  })
  const app = oauthApp === undefined ? undefined : await requireApp(access.db, checked, oauthApp)
  return save(
    access,
    checked,
    actor,
    {
      organization,
      name,
      method: 'oauth',
      places: [WHOLE_INSTANCE],
      autoRotate: false,
      oauthAppId: app?.id ?? null,
      accessToken: checked.token,
      refreshToken: readRefreshToken ?? null,
    },
    alongside,
  )
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

type Given = Omit<
  ConnectedToken,
  'instanceId' | 'kind' | 'user' | 'scopes' | 'issuedAt' | 'expiresAt' | 'verifiedAt'
>

const save = async (
  { db, vault, clock }: GitLabAccess,
  { instance, facts }: CheckedToken,
  actor: Actor,
  given: Given,
  alongside: Alongside | undefined,
): Promise<SavedConnection> => {
  const now = new Date(clock())
  const stored = await ensureStored(db, instance)
  const { kind, user, scopes, issuedAt, expiresAt } = facts
  const token = {
    ...given,
    instanceId: stored.id,
    kind,
    user,
    scopes,
    issuedAt: issuedAt ?? now,
    expiresAt,
    verifiedAt: now,
  }
  return saveConnection(db, vault, token, { ...actor, at: now }, alongside)
}
