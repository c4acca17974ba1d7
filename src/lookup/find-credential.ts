import { setTimeout as sleep } from 'node:timers/promises'
import type { Principal } from '../access-keys/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Refresher } from '../connections/refresh.ts'
import {
  decideServing,
  firstTerms,
  type GrantTerms,
  OUTAGE_MINIMUM_SECONDS,
  termsAfterRefresh,
  termsWhileLeased,
  termsWhileUnavailable,
  type Wish,
} from '../connections/serving-decision.ts'
import type { ConnectionVerdict } from '../connections/verify-connection.ts'
import { notFound, Problem } from '../errors/problem.ts'
import type { GrantRow } from './grants/grant.ts'
import type { KnownMatches } from './known-matches.ts'
import type { LeaseGrants } from './lease-grants.ts'
import { newLeaseId } from './lease-id.ts'
import type { OpenedTokens } from './opened-tokens.ts'

export type CredentialWish = Wish & { purpose?: string | undefined }

export type FindDeps = {
  openedTokens: OpenedTokens
  clock: Clock
  leaseGrants: LeaseGrants
  refresher: Refresher
  /** connections/verify-connection.ts, one at a time a connection. */
  verify(connectionId: string): Promise<ConnectionVerdict>
}

export type FindAtDeps = FindDeps & { knownMatches: KnownMatches }

/** A granted lease with the opened token. */
export type Credential = { row: GrantedRow; token: string }

const POLL_MS = 100
const LONGEST_WAIT_MS = 12_000
/** Terms, refresh, terms again, ...: a connection that moves this often under us is asked for later. */
const MOST_ROUNDS = 6

const toRequest = (principal: Principal, purpose: string | undefined, terms: GrantTerms) => ({
  leaseId: newLeaseId(),
  accessKeyId: principal.id,
  purpose: purpose ?? null,
  ...terms,
})

/**
 * A token for a URL, with its lease, where one statement is enough: its instance has no path of its own, and the
 * connection that is to win has a token that can be handed out at once.
 * @returns undefined when it takes more: find-by-url.ts has the rules for that.
 * @throws {Problem} invalid_request when it is no URL of a repository or group
 */
export const findCredentialAt = async (
  deps: FindAtDeps,
  url: string,
  organization: string | undefined,
  principal: Principal,
  wish: CredentialWish,
): Promise<Credential | undefined> => {
  const { leaseGrants, knownMatches, openedTokens } = deps
  const search = knownMatches.readSearch(principal, organization, url)
  if (!search || isTooShort(wish)) return undefined
  const request = () => toRequest(principal, wish.purpose, firstTerms(wish))

  const match = knownMatches.find(search)
  const known = match && (await leaseGrants.byMatch({ match, ...request() }))
  if (known && isGranted(known)) return { row: known, token: await openedTokens.open(known) }
  if (match && known && known.match_version !== match.version) knownMatches.forget(search, match)

  const row = await leaseGrants.byUrl({ ...search, ...request() })
  if (!row || !isGranted(row)) return undefined
  // What it knew is gone: were it only locked, no other would have been granted instead.
  if (match && !known) knownMatches.forget(search, match)
  // What is learned serves the next: this one need not fail for it.
  const learned = knownMatches.learn(search).catch(() => undefined)
  const [token] = await Promise.all([openedTokens.open(row), learned])
  return { row, token }
}

/** The rules of url-match.ts prefer what lives a little longer than such a wish. */
const isTooShort = ({ minTtl }: CredentialWish): boolean =>
  minTtl !== undefined && minTtl < OUTAGE_MINIMUM_SECONDS

/**
 * A token of the connection that works and lives as long as wished, with its lease in the database.
 * @throws {Problem} not_found, unauthorized (the key was deleted a moment ago), needs_reauthorization,
 *   connection_expired, connection_revoked, token_in_use, min_ttl_unattainable, gitlab_unavailable, oauth_app_rejected,
 *   database_unavailable
 */
export const findCredential = async (
  deps: FindDeps,
  connectionId: string,
  principal: Principal,
  { minTtl, onConflict, purpose }: CredentialWish,
): Promise<Credential> => {
  const { leaseGrants } = deps
  const wish: Wish = { minTtl, onConflict }
  let terms = firstTerms(wish)
  let refusal: Problem | undefined
  const patience = performance.now() + LONGEST_WAIT_MS
  for (let round = 0; round < MOST_ROUNDS; ) {
    const request = { connectionId, ...toRequest(principal, purpose, terms) }
    const row = await leaseGrants.byId(request)
    if (!row) {
      if (!(await leaseGrants.isLocked(request))) throw notFound('connection')
      if (performance.now() > patience) throw locked()
      await sleep(POLL_MS)
      continue
    }
    if (isGranted(row)) return { row, token: await deps.openedTokens.open(row) }
    if (refusal) throw refusal

    const decision = decideServing({ ...row, ...row.refused }, wish, new Date(deps.clock()))
    if (decision.action === 'wait' && performance.now() < patience) {
      await sleep(POLL_MS)
      continue
    }
    round += 1
    switch (decision.action) {
      case 'refuse':
        throw refuse(decision.code, row, minTtl)
      case 'grant':
        terms = decision.terms
        break
      case 'refresh':
        ;({ terms, refusal } = await refreshFor(deps, row, wish))
        break
      case 'verify':
        if ((await deps.verify(connectionId)).kind === 'unknown') throw inDoubt()
        break
      case 'wait':
        throw inDoubt()
    }
  }
  throw new Problem('gitlab_unavailable', 'The token changes too often right now.', { retryAfterSeconds: 1 })
}

const locked = (): Problem =>
  new Problem('database_unavailable', 'Something holds this connection locked in the database.', {
    retryAfterSeconds: 5,
  })

const inDoubt = (): Problem =>
  new Problem(
    'gitlab_unavailable',
    'The token is being changed, and GitLab does not say yet how that went.',
    {
      retryAfterSeconds: 5,
    },
  )

type GrantedRow = Extract<GrantRow, { refused: null }>
type RefusedRow = Exclude<GrantRow, GrantedRow>

const isGranted = (row: GrantRow): row is GrantedRow => row.access_token !== null

/** The terms for the next grant, and what to answer if they are not met either. */
type Next = { terms: GrantTerms; refusal: Problem | undefined }

const refreshFor = async ({ refresher, clock }: FindDeps, row: RefusedRow, wish: Wish): Promise<Next> => {
  const outcome = await refresher.refresh(row.connection_id, {
    knownVersion: row.token_version,
    onConflict: wish.onConflict,
  })
  switch (outcome.kind) {
    case 'newer_version':
      return { terms: termsAfterRefresh(wish), refusal: undefined }
    case 'read_again':
      return { terms: firstTerms(wish), refusal: undefined }
    case 'in_use': {
      const retryAfterSeconds = secondsUntil(outcome.until, clock)
      const detail = `Others use this token until ${outcome.until.toISOString()}; a refresh would break them. Wait, or ask with on_conflict=preempt.`
      const members = { leased_until: outcome.until.toISOString() }
      return {
        terms: termsWhileLeased(wish),
        refusal: new Problem('token_in_use', detail, { retryAfterSeconds, members }),
      }
    }
    case 'failing': {
      const retryAfterSeconds = secondsUntil(outcome.until, clock)
      const refusal =
        outcome.code === 'oauth_app_rejected'
          ? new Problem(
              'oauth_app_rejected',
              'GitLab rejects the OAuth app of this connection; an admin has to correct it.',
              { retryAfterSeconds },
            )
          : new Problem(
              'gitlab_unavailable',
              'GitLab gives no new token right now, and the one at hand does not live long enough.',
              { retryAfterSeconds },
            )
      return { terms: termsWhileUnavailable(wish), refusal }
    }
  }
}

const secondsUntil = (time: Date, clock: Clock): number =>
  Math.max(1, Math.ceil((time.getTime() - clock()) / 1000))

type RefusalCode =
  | 'needs_reauthorization'
  | 'connection_expired'
  | 'connection_revoked'
  | 'min_ttl_unattainable'

const refuse = (code: RefusalCode, { refused, ...row }: RefusedRow, minTtl: number | undefined): Problem => {
  const members = { connection_id: row.connection_id, status_reason: refused.status_reason }
  switch (code) {
    case 'min_ttl_unattainable':
      return new Problem(code, `No token of this connection lives ${minTtl} seconds more.`, {
        members: {
          connection_id: row.connection_id,
          expires_at: row.token_expires_at?.toISOString() ?? null,
        },
      })
    case 'connection_expired':
      return new Problem(
        code,
        refused.status_detail ?? 'The token has reached its end; a person has to replace it.',
        { members },
      )
    default:
      return new Problem(code, refused.status_detail ?? undefined, { members })
  }
}
