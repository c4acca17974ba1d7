import { type Principal, requireOrganization } from '../callers/principal.ts'
import type { RunPrepared } from '../db/database.ts'
import { Problem } from '../errors/problem.ts'
import { coveringPaths, type ResourceUrl } from '../gitlab/repository-url.ts'
import { isLeased } from '../leases/lease.ts'
import { type LeaseDeps, type LeasedToken, leaseToken, toLeaseRequest } from '../leases/lease-token.ts'
import {
  DEFAULT_MIN_TTL_SECONDS,
  firstConditions,
  type LeaseOptions,
  OUTAGE_MINIMUM_SECONDS,
} from '../leases/serving-decision.ts'
import type { KnownMatches } from './known-matches.ts'
import type { LeasesByUrl } from './leasing/leases-by-url.ts'
import { type CoveringGroup, findCandidates } from './queries.ts'
import { readUrl, type Search, type SearchReader, searchedIn } from './search.ts'
import { type Choice, chooseConnection, type RankedCandidate } from './url-match.ts'

/** How a caller names a repository or group. */
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
 * @throws {Problem} invalid_request, not_found (organization), no_connection_for_url, ambiguous_connection, and those of
 *   leaseToken
 */
export const leaseTokenByUrl = async (
  deps: FindByUrlDeps,
  principal: Principal,
  byUrl: ByUrl,
  options: LeaseOptions,
): Promise<LeasedToken> => {
  const { url, organization } = byUrl
  if (organization !== undefined) requireOrganization(principal, organization)
  const search = deps.searchReader.read(principal, organization, url)
  const leased = search && !isShort(options) ? await leaseAtOnce(deps, principal, search, options) : undefined
  if (leased) return leased
  const id = await findConnectionByUrl(deps, principal, byUrl, options)
  return leaseToken(deps, id, principal, options)
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

const coveringGroupsOf = ({ readings, anyPort }: ResourceUrl): CoveringGroup[] =>
  readings.flatMap(({ baseUrl, path }) =>
    coveringPaths(path).map((groupPath) => ({ baseUrl, anyPort, groupPath })),
  )

/** Every connection that covers the URL, ranked, and which one wins. */
export const rankByUrl = async (
  { runPrepared, clock }: Pick<FindByUrlDeps, 'runPrepared' | 'clock'>,
  principal: Principal,
  { url, organization }: ByUrl,
  { minTtl }: Pick<LeaseOptions, 'minTtl'>,
): Promise<Choice> => {
  if (organization !== undefined) requireOrganization(principal, organization)
  const now = new Date(clock())
  const rows = await findCandidates(runPrepared, {
    accessKeyId: principal.id,
    organizations: searchedIn(principal, organization),
    covering: coveringGroupsOf(readUrl(url)),
    now,
  })
  return chooseConnection(rows, minTtl ?? DEFAULT_MIN_TTL_SECONDS, now)
}

const findConnectionByUrl = async (
  deps: FindByUrlDeps,
  principal: Principal,
  byUrl: ByUrl,
  options: LeaseOptions,
): Promise<string> => {
  const choice = await rankByUrl(deps, principal, byUrl, options)
  switch (choice.kind) {
    case 'winner':
      return choice.winner.id
    case 'ambiguous':
      throw new Problem(
        'ambiguous_connection',
        'Connections of more than one organization fit: name the organization.',
        { members: { candidates: choice.tied.map(toCandidate) } },
      )
    case 'none': {
      const [best] = choice.ranked
      const detail = best
        ? `A connection covers this URL, but ${best.reason}: ${best.id} of ${best.organization}.`
        : 'No connection within your organizations covers this URL.'
      throw new Problem('no_connection_for_url', detail, {
        members: { candidates: choice.ranked.map(toCandidate) },
      })
    }
  }
}

const toCandidate = ({ id, organization, group_path, status }: RankedCandidate) => ({
  connection_id: id,
  organization,
  group: group_path || null,
  status,
})
