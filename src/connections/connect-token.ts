import type { Principal } from '../access-keys/principal.ts'
import type { InstanceRow, OAuthAppRow } from '../db/tables.ts'
import { invalidField, Problem } from '../errors/problem.ts'
import type { TokenFacts } from '../gitlab/inspect-token.ts'
import { checkReach, findHome } from '../gitlab/reach.ts'
import { hasScope } from '../gitlab/scopes.ts'
import { ensureStored } from '../instances/resolve-instance.ts'
import { findOAuthAppBySlug } from '../oauth-apps/queries.ts'
import type { Vault } from '../vault/vault.ts'
import { type SavedConnection, saveConnection } from './save-connection.ts'
import {
  missingScopesProblem,
  requireUsable,
  toProblem,
  type VerifyDeps,
  verifyToken,
} from './verify-token.ts'

export type ConnectDeps = VerifyDeps & { vault: Vault }

/** Who connects: an access key, or the key that made a connect session. */
export type Caller = { accessKeyId: string; requestId: string }

export const callerOf = (principal: Principal, requestId: string): Caller => ({
  accessKeyId: principal.id,
  requestId,
})

export type PastedAccessToken = {
  organization: string
  name?: string | undefined
  baseUrl?: string | undefined
  token: string
  group?: string | undefined
  autoRotate?: boolean | undefined
}

/** Connects a personal, group or project access token; GitLab verifies it first. */
export const connectAccessToken = async (
  deps: ConnectDeps,
  pasted: PastedAccessToken,
  caller: Caller,
): Promise<SavedConnection> => {
  const { instance, inspection } = await verifyToken(deps, pasted.baseUrl, pasted.token)
  const facts = requireUsable(inspection)
  if (facts.kind === 'oauth_access_token') {
    throw new Problem(
      'wrong_token_kind',
      'This is an OAuth access token: connect it with POST /v1/connections/oauth-token.',
    )
  }
  const groupPath = await findGroupPath(deps, instance, facts, pasted)
  if (pasted.autoRotate && !hasScope(facts.scopes, 'self_rotate')) {
    throw missingScopesProblem(['self_rotate'], 'to be rotated automatically')
  }
  const now = new Date(deps.clock())
  const stored = await ensureStored(deps.db, instance)
  return saveConnection(
    deps.db,
    deps.vault,
    {
      organization: pasted.organization,
      instanceId: stored.id,
      method: 'token',
      kind: facts.kind,
      user: facts.user,
      groupPath,
      name: pasted.name,
      oauthAppId: null,
      autoRotate: pasted.autoRotate ?? false,
      accessToken: pasted.token,
      refreshToken: null,
      scopes: facts.scopes,
      issuedAt: facts.issuedAt ?? now,
      expiresAt: facts.expiresAt,
      verifiedAt: now,
    },
    { ...caller, at: now },
  )
}

/** The named group, if the token reaches it; for a group or project token its own home. Lower case, as it is compared. */
const findGroupPath = async (
  deps: ConnectDeps,
  instance: InstanceRow,
  { kind, scopes }: TokenFacts,
  { token, group }: PastedAccessToken,
): Promise<string> => {
  const client = deps.instanceClients.for(instance)
  const named = group?.trim().replace(/^\/+|\/+$/g, '')
  if (!named) {
    // Without its home the connection would cover the whole instance: rather ask again later.
    const home = await findHome(client, token, kind)
    if (home.refusal) throw toProblem(home.refusal)
    return (home.path ?? '').toLowerCase()
  }
  if (!hasScope(scopes, 'read_api'))
    throw missingScopesProblem(['read_api'], 'so that its reach can be checked')
  const reach = await checkReach(client, token, named)
  if (reach.reached) return reach.path.toLowerCase()
  if (reach.refusal) throw toProblem(reach.refusal)
  throw new Problem(
    'group_out_of_reach',
    `The token does not reach "${named}": misspelt, or its owner is not a member.`,
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

/** Connects an OAuth access token that was obtained elsewhere; without refresh token and app it lives until its end. */
export const connectOAuthToken = async (
  deps: ConnectDeps,
  pasted: PastedOAuthToken,
  caller: Caller,
): Promise<SavedConnection> => {
  if ((pasted.refreshToken === undefined) !== (pasted.oauthApp === undefined)) {
    throw invalidField(
      pasted.refreshToken === undefined ? 'refresh_token' : 'oauth_app',
      'is needed too: a refresh takes both',
    )
  }
  const { instance, inspection } = await verifyToken(deps, pasted.baseUrl, pasted.accessToken)
  const app = pasted.oauthApp === undefined ? undefined : await findApp(deps, instance, pasted.oauthApp)
  const facts = requireUsable(inspection)
  if (facts.kind !== 'oauth_access_token') {
    throw new Problem(
      'wrong_token_kind',
      'This is a personal, group or project access token: connect it with POST /v1/connections/personal-access-token.',
    )
  }
  if (app && facts.clientId !== null && facts.clientId !== app.client_id) {
    throw invalidField('oauth_app', 'is not the app to which GitLab issued this token')
  }
  const now = new Date(deps.clock())
  const stored = await ensureStored(deps.db, instance)
  return saveConnection(
    deps.db,
    deps.vault,
    {
      organization: pasted.organization,
      instanceId: stored.id,
      method: 'oauth',
      kind: facts.kind,
      user: facts.user,
      groupPath: '',
      name: pasted.name,
      oauthAppId: app?.id ?? null,
      autoRotate: false,
      accessToken: pasted.accessToken,
      refreshToken: pasted.refreshToken ?? null,
      scopes: facts.scopes,
      issuedAt: facts.issuedAt ?? now,
      expiresAt: facts.expiresAt,
      verifiedAt: now,
    },
    { ...caller, at: now },
  )
}

const findApp = async ({ db }: ConnectDeps, instance: InstanceRow, slug: string): Promise<OAuthAppRow> => {
  const app = await findOAuthAppBySlug(db, slug)
  if (!app) throw invalidField('oauth_app', 'is not the slug of an OAuth app')
  if (app.instance_id !== instance.id)
    throw invalidField('oauth_app', 'belongs to another instance than base_url')
  return app
}
