import {
  mayAskAt,
  mayAskFor,
  organizationsOf,
  type Principal,
  requireOneOrganization,
} from '../callers/principal.ts'
import type { RunPrepared } from '../db/database.ts'
import { Problem } from '../errors/problem.ts'
import { coveringPaths, nearReadings, type Reading, readingsAt } from '../gitlab/repository-url.ts'
import { isLeased } from '../leases/lease.ts'
import { type LeaseDeps, type LeasedToken, leaseTokenOf, toLeaseRequest } from '../leases/lease-token.ts'
import {
  DEFAULT_MIN_TTL_SECONDS,
  firstConditions,
  type LeaseOptions,
  OUTAGE_MINIMUM_SECONDS,
} from '../leases/serving-decision.ts'
import { type Hint, hintFor } from './hint.ts'
import type { KnownMatches } from './known-matches.ts'
import type { LeasesByUrl } from './leasing/leases-by-url.ts'
import { type CandidateRow, type CoveringGroup, findCandidates, findInstancesOfHost } from './queries.ts'
import { readUrl, type Search, type SearchReader } from './search.ts'
import { type Choice, chooseConnection, type RankedCandidate } from './url-match.ts'

/** How a caller names a repository or group. A caller of one organization may leave the organization out. */
export type ByUrl = { url: string; organization?: string | undefined }

export type FindByUrlDeps = LeaseDeps & {
  runPrepared: RunPrepared
  searchReader: SearchReader
  knownMatches: KnownMatches
  leasesByUrl: LeasesByUrl
}

/**
 * Leases a token for a URL. Tries in this order: the remembered connection, one statement that finds and leases, the
 * rules of url-match.ts.
 * @throws {Problem} invalid_request, organization_required, not_found (organization), no_connection_for_url, and those of
 *   leaseTokenOf
 */
export const leaseTokenByUrl = async (
  deps: FindByUrlDeps,
  principal: Principal,
  { url, organization: named }: ByUrl,
  options: LeaseOptions,
): Promise<LeasedToken> => {
  const organization = organizationFor(principal, { url, organization: named })
  requireWithinPrefixes(principal, url)
  const search = deps.searchReader.read(principal, organization, url)
  const leased = search && !isShort(options) ? await leaseAtOnce(deps, principal, search, options) : undefined
  if (leased) return leased
  const id = await findConnectionByUrl(deps, principal, { url, organization }, options)
  return leaseTokenOf(deps, id, principal, options)
}

/** A text that is no URL is the first fault: nobody has to name an organization for it. */
const organizationFor = (principal: Principal, { url, organization }: ByUrl): string => {
  if (organization === undefined && organizationsOf(principal)?.length !== 1) readUrl(url)
  return requireOneOrganization(principal, organization)
}

/** What lies outside a key's URL prefixes does not exist for it. */
const requireWithinPrefixes = (principal: Principal, url: string): void => {
  if (principal.restrictions.urlPrefixes === undefined) return
  if (!mayAskFor(principal, readUrl(url))) throw noConnection([])
}

/** The rules of url-match.ts prefer a token that lives a little longer than such a min_ttl. */
const isShort = ({ minTtl }: LeaseOptions): boolean => minTtl !== undefined && minTtl < OUTAGE_MINIMUM_SECONDS

/** @returns undefined when one statement cannot find the connection, or its token cannot be handed out as it is. */
const leaseAtOnce = async (
  { knownMatches, leasesByUrl, openedTokens }: FindByUrlDeps,
  principal: Principal,
  search: Search,
  options: LeaseOptions,
): Promise<LeasedToken | undefined> => {
  const request = () => toLeaseRequest(principal, options, firstConditions(options))
  const match = knownMatches.find(search)
  const known = match && (await leasesByUrl.leaseByMatch({ match, ...request() }))
  if (known && isLeased(known)) return { row: known, token: await openedTokens.open(known) }
  if (match && known && known.match_version !== match.version) knownMatches.forget(search, match)

  const row = await leasesByUrl.leaseByUrl({ ...search, ...request() })
  if (!row || !isLeased(row)) return undefined
  // The remembered connection no longer matches: another was leased. Had it only been locked, nothing would have been
  // leased.
  if (match && !known) knownMatches.forget(search, match)
  // Learning serves the next lookup. When it fails, this lookup goes on.
  const learned = knownMatches.learn(search).catch(() => undefined)
  const [token] = await Promise.all([openedTokens.open(row), learned])
  return { row, token }
}

const coveringGroupsOf = (readings: Reading[]): CoveringGroup[] => {
  const covering = readings.flatMap((reading) =>
    coveringPaths(reading).map((groupPath) => ({ baseUrl: reading.baseUrl, groupPath })),
  )
  // One instance may have two readings, and every reading has ''.
  return [...new Map(covering.map((group) => [`${group.baseUrl} ${group.groupPath}`, group])).values()]
}

/** The candidates for what a URL names, of those readings that the caller may ask for. */
const findCandidatesAt = (
  { runPrepared, clock }: Pick<FindByUrlDeps, 'runPrepared' | 'clock'>,
  principal: Principal,
  organization: string | undefined,
  readings: Reading[],
): Promise<CandidateRow[]> =>
  findCandidates(runPrepared, {
    accessKeyId: principal.id,
    organization: requireOneOrganization(principal, organization),
    covering: coveringGroupsOf(readings.filter((reading) => mayAskAt(principal, reading))),
    now: new Date(clock()),
  })

/** Every connection that covers the URL and exists for the caller, ranked, and which one wins. */
export const rankByUrl = async (
  deps: Pick<FindByUrlDeps, 'runPrepared' | 'clock'>,
  principal: Principal,
  { url, organization }: ByUrl,
  { minTtl }: Pick<LeaseOptions, 'minTtl'>,
): Promise<Choice> => {
  const resource = readUrl(url)
  const instances = await findInstancesOfHost(deps.runPrepared, resource)
  const rows = await findCandidatesAt(deps, principal, organization, readingsAt(resource, instances))
  return chooseConnection(rows, minTtl ?? DEFAULT_MIN_TTL_SECONDS, new Date(deps.clock()))
}

const findConnectionByUrl = async (
  deps: FindByUrlDeps,
  principal: Principal,
  byUrl: ByUrl,
  options: LeaseOptions,
): Promise<string> => {
  const choice = await rankByUrl(deps, principal, byUrl, options)
  if (choice.kind === 'none')
    throw noConnection(choice.ranked, await findHint(deps, principal, byUrl, choice.ranked))
  return choice.winner.id
}

/** A connection that would cover the URL if its scheme or port were another. Told only to who may use it. */
const findHint = async (
  deps: FindByUrlDeps,
  principal: Principal,
  { url, organization }: ByUrl,
  ranked: RankedCandidate[],
): Promise<Hint | undefined> => {
  if (ranked.length > 0) return undefined
  const resource = readUrl(url)
  const near = nearReadings(resource, await findInstancesOfHost(deps.runPrepared, resource))
  if (near.length === 0) return undefined
  const [found] = await findCandidatesAt(deps, principal, organization, near)
  return found && hintFor(resource, found.base_url)
}

const noConnection = (ranked: RankedCandidate[], hint?: Hint | undefined): Problem => {
  const [best] = ranked
  const detail = best
    ? `A connection covers this URL, but ${best.reason}: ${best.id} of ${best.organization}.`
    : 'No connection within your organizations covers this URL.'
  return new Problem('no_connection_for_url', hint ? `${detail} ${hint.detail}` : detail, {
    members: { candidates: ranked.map(toCandidate), ...(hint ? { hint: hint.member } : {}) },
  })
}

const toCandidate = ({ id, organization, group_path, status }: RankedCandidate) => ({
  connection_id: id,
  organization,
  group: group_path || null,
  status,
})
