import { recordAuditEvent } from '../audit/queries.ts'
import type { Database } from '../db/database.ts'
import type { ConnectionRow } from '../db/tables.ts'
import { invalidField, notFound, Problem } from '../errors/problem.ts'
import type { TokenFacts } from '../gitlab/inspect-token.ts'
import type { Place } from '../places/place.ts'
import { findPlaces } from '../places/queries.ts'
import { requireUnclaimed } from '../token-lifecycle/claim.ts'
import { type ConnectionWithInstance, findConnection, lockConnection } from '../token-lifecycle/queries.ts'
import { isRefreshable } from '../token-lifecycle/refresh-decision.ts'
import type { Vault } from '../vault/vault.ts'
import type { CheckedToken } from './check-token.ts'
import { groupRequired, type Places } from './find-places.ts'
import {
  besides,
  type Holder,
  holderOf,
  identityPathOf,
  isNameless,
  judgeSuccession,
  type Succession,
} from './identity.ts'
import { changeIdentity, isIdentityTaken } from './queries.ts'
import { type Alongside, type ConnectedToken, type EventOrigin, storeInPlace } from './save-connection.ts'

/** A connection that somebody means to revive, and what it covers. */
export type Target = { row: ConnectionWithInstance; places: Place[] }

/** @throws {Problem} not_found */
export const findTarget = async (db: Database, connectionId: string): Promise<Target> => {
  const row = await findConnection(db, connectionId)
  if (!row) throw notFound('connection')
  return { row, places: (await findPlaces(db, [row.id])).get(row.id) ?? [] }
}

/** Whether somebody agreed to another person: to any, or to the account with this id. */
export type Acceptance = boolean | string

/** An account that asks for the place of another. */
export type Claimant = Pick<Holder, 'userId'> & { username: string | null }

/** Another account asks for the place, and nobody agreed. */
export class OtherIdentity extends Problem {
  readonly held: Claimant
  readonly given: Claimant

  constructor(held: Claimant, given: Claimant) {
    super(
      'different_identity',
      `This token belongs to ${nameOf(given)}, and the connection to ${nameOf(held)}. Send accept_new_identity to let the connection go on with the new account, or make a connection of its own for it.`,
      { members: { held_by: nameOf(held), given_by: nameOf(given) } },
    )
    this.held = held
    this.given = given
  }
}

const nameOf = ({ userId, username }: Claimant): string => username ?? `the account ${userId}`

type Takeover = {
  connectionId: string
  token: ConnectedToken
  accepts: Acceptance
  event: EventOrigin
  action: 'connection.updated' | 'connection.reconnected'
  alongside?: Alongside | undefined
}

/**
 * Puts a token in the place of the stored one: of the same account, of a bot with the same home, or of somebody else
 * whom a person accepts. The connection keeps its id.
 * @throws {Problem} not_found, different_identity, wrong_token_kind, gitlab_unavailable
 */
export const takeOver = async (
  db: Database,
  vault: Vault,
  { connectionId, token, accepts, event, action, alongside }: Takeover,
): Promise<void> => {
  // Before the transaction: the embedded database has one connection.
  const tokenHash = await vault.tokenHash(token.accessToken)
  await db.transaction().execute(async (transaction) => {
    await alongside?.(transaction)
    const current = await lockConnection(transaction, connectionId)
    if (!current || current.organization !== token.organization) throw notFound('connection')
    if (current.instance_id !== token.instanceId)
      throw invalidField('base_url', 'is another instance than the one of the connection')
    const held = (await findPlaces(transaction, [connectionId])).get(connectionId) ?? []
    const succession = judgeSuccession(holderOf(current, held), givenBy(token))
    requireAccepted(current, token, succession, accepts)
    requireUnclaimed(current, event.at)
    if (current.status === 'active' && isRefreshable(current) && token.refreshToken === null)
      throw new Problem(
        'wrong_token_kind',
        'This connection renews itself, which a pasted token could not: reconnect by OAuth instead.',
      )
    await moveIdentity(transaction, current, token)
    const version = await storeInPlace(transaction, vault, current, token, event.at)
    await recordAuditEvent(transaction, {
      ...event,
      action,
      organization: current.organization,
      subjectId: connectionId,
      tokenHash,
      details: {
        change: 'token replaced',
        token_version: version,
        instance_id: current.instance_id,
        token_kind: token.kind,
        identity: succession,
        ...(succession === 'same' ? {} : { account_before: current.gitlab_user_id, account: token.user.id }),
      },
    })
  })
}

const givenBy = ({ method, kind, user, places, scopes }: ConnectedToken): Holder => ({
  method,
  kind,
  userId: user.id,
  places,
  isNameless: isNameless(kind, user.username, scopes),
})

const requireAccepted = (
  held: ConnectionRow,
  { user }: ConnectedToken,
  succession: Succession,
  accepts: Acceptance,
): void => {
  if (succession !== 'other' || accepts === true || accepts === user.id) return
  throw otherIdentity(held, user)
}

/** Says who holds the connection now, when that is somebody else. */
const moveIdentity = async (
  transaction: Database,
  current: ConnectionRow,
  { method, user, places }: ConnectedToken,
): Promise<void> => {
  const { id, organization, instance_id, group_path } = current
  const account = { organization, instance_id, method, gitlab_user_id: user.id }
  if (method === current.method && user.id === current.gitlab_user_id) return
  // A connection of before keeps its path, whatever the places are called by now.
  const path = group_path.includes('#') ? identityPathOf(places) : group_path
  const isTaken = await isIdentityTaken(transaction, account, path, id)
  await changeIdentity(transaction, id, { ...account, group_path: isTaken ? besides(path, id) : path })
}

/**
 * Refuses a person whom nobody accepts before anything more is asked. Of a bot that is told later, when it is known
 * which group or project the bot belongs to.
 */
export const refuseStranger =
  ({ row }: Target, accepts: Acceptance) =>
  ({ user, home }: TokenFacts): Problem | undefined => {
    const isKnown = user.id === row.gitlab_user_id || accepts === true || accepts === user.id
    return isKnown || home || user.username === null ? undefined : otherIdentity(row, user)
  }

const otherIdentity = (held: ConnectionRow, { id, username }: ConnectedToken['user']): OtherIdentity =>
  new OtherIdentity({ userId: held.gitlab_user_id, username: held.gitlab_username }, { userId: id, username })

/** What the token covers; where GitLab does not tell, the same account covers what it covered. @throws {Problem} group_required */
export const requirePlaces = (
  { facts, places }: Pick<CheckedToken, 'facts' | 'places'>,
  target: Target | undefined,
): Places => {
  if (places) return places
  const [first, ...others] = target?.row.gitlab_user_id === facts.user.id ? target.places : []
  if (!first) throw groupRequired()
  return [first, ...others]
}
