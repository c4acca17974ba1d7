import type { Origin } from '../callers/principal.ts'
import { addSeconds } from '../clock/clock.ts'
import { labelsFor } from '../connect-sessions/connect-session.ts'
import { findLink } from '../connect-sessions/find-link.ts'
import { markSessionUsed } from '../connect-sessions/queries.ts'
import { RECEIPT_SECONDS } from '../connect-sessions/receipt.ts'
import { findAllPlaces, findPlaces, type NamedPlace, type Places } from '../connections/find-places.ts'
import { isConnectedElsewhere } from '../connections/queries.ts'
import { type SavedConnection, saveConnection } from '../connections/save-connection.ts'
import { findTarget, OtherIdentity, requirePlaces, type Target, takeOver } from '../connections/take-over.ts'
import type { Database } from '../db/database.ts'
import type { AuthorizationRequestRow, ConnectSessionRow } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { inspectOAuthToken, type TokenFacts } from '../gitlab/inspect-token.ts'
import { refusalProblem } from '../gitlab/refusal.ts'
import { readGroup } from '../gitlab/urls/pasted-group.ts'
import { type AppAndInstance, requireApp } from './authorization-app.ts'
import type { FlowDeps } from './flow-deps.ts'
import { giveUpGrant, openGrant, type StoredGrant, sealGrant } from './kept-grant.ts'
import { findAuthorizationRequest, saveQuestion, takeGrant } from './queries.ts'

export type Completion = { kind: 'connected'; connection: SavedConnection } | { kind: 'waits'; until: Date }

/** A person has to say yes first: the account is connected in another organization too, or another one held the connection. */
class NeedsYes extends Error {}

/**
 * Makes a connection of a kept grant: asks GitLab whose it is, saves it, forgets the grant, ends the session. Where
 * the account is connected in another organization, or is not the one that held the connection, nothing is stored before
 * a person has said yes.
 * May be tried again while GitLab does not answer.
 * @throws {Problem} session_expired, gitlab_unavailable and other refusals
 */
export const completeGrant = async (
  deps: FlowDeps,
  request: AuthorizationRequestRow,
  found: AppAndInstance,
  origin: Origin,
  { saidYes }: { saidYes: boolean },
): Promise<Completion> => {
  const { vault, clock, instanceClients } = deps
  if (request.grant_jwe === null) throw new Problem('callback_replayed')
  const session = await requireLivingSession(deps, request)
  const grant = await openGrant(vault, request.id, request.grant_jwe)
  const client = instanceClients.for(found.instance)
  const inspection = await inspectOAuthToken(client, grant.accessToken, new Date(clock()))
  if (!inspection.valid) {
    // An outage says nothing about the grant; any other refusal is final, and what is of no use is not kept.
    if (inspection.refusal.code !== 'gitlab_unavailable') await giveUpGrant(deps, request.id)
    throw refusalProblem(inspection.refusal)
  }
  const { facts } = inspection
  try {
    const connection = await save(deps, { request, session, grant, facts, found, origin, saidYes })
    return { kind: 'connected', connection }
  } catch (error) {
    if (error instanceof NeedsYes || error instanceof OtherIdentity)
      return { kind: 'waits', until: await ask(deps, request, session, { ...grant, user: facts.user }) }
    // What is of no use is not kept.
    if (error instanceof Problem && FINAL.has(error.code)) await giveUpGrant(deps, request.id)
    throw error
  }
}

/** No later try would come to more. */
const FINAL: ReadonlySet<string> = new Set([
  'session_expired',
  'not_found',
  'group_out_of_reach',
  'group_required',
  'missing_scopes',
  'wrong_token_kind',
])

/** The session of a grant that may still become a connection. That its time is over is no obstacle: GitLab was slow. */
const requireLivingSession = async (
  deps: FlowDeps,
  { id, connect_session_id }: AuthorizationRequestRow,
): Promise<ConnectSessionRow> => {
  const found = await findLink(deps.db, { id: connect_session_id }, new Date(deps.clock()))
  if (found.ended === undefined) return found.link.session
  if (found.ended === 'expired' && found.session) return found.session
  await giveUpGrant(deps, id)
  throw new Problem('session_expired')
}

type ToSave = {
  request: AuthorizationRequestRow
  session: ConnectSessionRow
  grant: StoredGrant
  facts: TokenFacts
  found: AppAndInstance
  origin: Origin
  saidYes: boolean
}

const save = async (deps: FlowDeps, toSave: ToSave): Promise<SavedConnection> => {
  const { db, vault, clock } = deps
  const { request, session, grant, facts, found, origin, saidYes } = toSave
  const { organization, connection_id } = session
  const target = connection_id === null ? undefined : await findTarget(db, connection_id)
  const places = await findGrantedPlaces(deps, toSave, target)
  const now = new Date(clock())
  const issuedAt = new Date(grant.issuedAt)
  const token = {
    organization,
    instanceId: found.instance.id,
    method: 'oauth',
    kind: 'oauth_access_token',
    user: facts.user,
    places,
    labels: labelsFor(session),
    oauthAppId: found.app.id,
    autoRotate: false,
    accessToken: grant.accessToken,
    refreshToken: grant.refreshToken,
    scopes: grant.scopes.length > 0 ? grant.scopes : facts.scopes,
    issuedAt,
    expiresAt: grant.expiresIn === null ? null : addSeconds(issuedAt, grant.expiresIn),
    verifiedAt: now,
  } as const
  const event = { accessKeyId: session.access_key_id, ...origin, at: now }
  const alongside = async (transaction: Database): Promise<void> => {
    const account = { organization, instanceId: found.instance.id, gitlabUserId: facts.user.id }
    if (!saidYes && (await isConnectedElsewhere(transaction, account))) throw new NeedsYes()
    // A link connects once, however many authorizations it began end at the same moment.
    if (!(await takeGrant(transaction, request.id, now))) throw new Problem('session_expired')
    if (!(await markSessionUsed(transaction, session.id, now))) throw new Problem('session_expired')
  }
  if (!target) return saveConnection(db, vault, token, event, { alongside })
  const connectionId = target.row.id
  const accepts = saidYes
  const action = 'connection.reconnected'
  await takeOver(db, vault, { connectionId, token, accepts, event, action, alongside })
  return { id: connectionId, created: false, replaced: true }
}

/** @throws {Problem} when the account does not reach what the link is for */
const findGrantedPlaces = async (
  { instanceClients }: FlowDeps,
  { session, grant, facts, found }: ToSave,
  target: Target | undefined,
): Promise<Places> => {
  const client = instanceClients.for(found.instance)
  const scopes = grant.scopes.length > 0 ? grant.scopes : facts.scopes
  const granted = { ...facts, scopes }
  const find = (wanted: NamedPlace | undefined) => findPlaces(client, grant.accessToken, granted, wanted)
  const named = session.group_path === null ? undefined : readGroup(session.group_path, found.instance)
  if (named && 'fault' in named) throw new Problem('group_out_of_reach')
  const places =
    target || !named ? await findAllPlaces(find, target?.places ?? []) : await find({ path: named.path })
  if ('refused' in places) throw places.refused
  return requirePlaces({ facts, places: places.found }, target)
}

/** Keeps the grant for as long as a person may think about it. @returns until when. */
const ask = async (
  { db, vault, clock }: FlowDeps,
  { id }: AuthorizationRequestRow,
  session: ConnectSessionRow,
  grant: StoredGrant,
): Promise<Date> => {
  const thinking = addSeconds(new Date(clock()), RECEIPT_SECONDS)
  const until = new Date(Math.min(session.expires_at.getTime(), thinking.getTime()))
  await saveQuestion(db, id, await sealGrant(vault, { id }, grant), until)
  return until
}

/**
 * The same without a browser, for a grant that is waiting for GitLab to answer again. Where a person would have to say
 * yes, nobody is there to be asked: the time for the answer runs out, and the grant is dropped.
 */
export const completePendingGrant = async (deps: FlowDeps, id: string): Promise<Completion | undefined> => {
  const request = await findAuthorizationRequest(deps.db, id)
  // Meanwhile a person may have been asked, or the grant has become a connection.
  if (!request || request.grant_jwe === null || request.confirm_until !== null) return undefined
  const found = await requireApp(deps.db, { id: request.oauth_app_id })
  return completeGrant(deps, request, found, { requestId: id }, { saidYes: false })
}
