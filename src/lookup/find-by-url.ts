import { isDeepStrictEqual } from 'node:util'
import { mayAskFor, organizationsOf, type Principal, requireOneOrganization } from '../callers/principal.ts'
import type { RunPrepared } from '../db/database.ts'
import { Problem } from '../errors/problem.ts'
import type { ResourceUrl } from '../gitlab/repository-url.ts'
import { isLeased, type LeaseRow } from '../leases/lease.ts'
import { type LeaseDeps, type LeasedToken, leaseTokenOf, toLeaseRequest } from '../leases/lease-token.ts'
import { DEFAULT_MIN_TTL_SECONDS, firstConditions, type LeaseOptions } from '../leases/serving-decision.ts'
import type { FindBest } from './best/find-best.ts'
import type { Best } from './best/queries.ts'
import type { Directories, Match } from './directories.ts'
import { behindRegistry, type Hint, hintFor, registryHintFor } from './hint.ts'
import type { LeaseByMatch } from './leasing/lease-by-match.ts'
import type { MatchLeaseRow } from './leasing/queries.ts'
import { type Located, type Locator, readUrl, withinPrefixes } from './locate.ts'
import { type CandidateQuery, type CoveringPath, findCandidates } from './queries.ts'
import type { ReachLearner } from './reach/learn-reach.ts'
import { type Choice, chooseConnection, isServable, type RankedCandidate } from './url-match.ts'

/** How a caller names a repository or group. A caller of one organization may leave the organization out. */
export type ByUrl = { url: string; organization?: string | undefined }

export type FindByUrlDeps = LeaseDeps & {
  runPrepared: RunPrepared
  locator: Locator
  directories: Directories
  leaseByMatch: LeaseByMatch
  findBest: FindBest
  reach: ReachLearner
}
export type RankDeps = Pick<FindByUrlDeps, 'runPrepared' | 'clock' | 'locator' | 'reach'>

/** A few candidates each; a caller waits no longer. */
const MOST_QUESTIONS = 3
/** Where places change all the time, the connection that was found last is leased as it is. */
const MOST_SEARCHES = 3

/**
 * Leases a token for a URL: of the connection that the directory names, if it is the only one of the longest path and
 * can be served; else of the one that the database finds.
 * @throws {Problem} invalid_request, organization_required, not_found (organization), no_connection_for_url, and those of
 *   leaseTokenOf
 */
export const leaseTokenByUrl = async (
  deps: FindByUrlDeps,
  principal: Principal,
  byUrl: ByUrl,
  options: LeaseOptions,
): Promise<LeasedToken> => {
  const { resource, organization } = read(principal, byUrl)
  if (!mayAskFor(principal, resource)) throw noConnection([])
  const request = toLeaseRequest(principal, options, firstConditions(options))
  const lease = (match: Match) => deps.leaseByMatch({ ...request, match })
  const serve = async (row: LeaseRow): Promise<LeasedToken> =>
    isLeased(row)
      ? { row, token: await deps.openedTokens.open(row) }
      : leaseTokenOf(deps, row.connection_id, principal, options, undefined, row)

  let located = withinPrefixes(principal, await deps.locator.locate(resource))
  const match = await deps.directories.find(principal, organization, located)
  const matched = match && (await lease(match))
  if (matched && holds(matched, match) && canServe(matched, new Date(deps.clock()))) return serve(matched)
  if (matched) deps.directories.compare(match, matched.directory_version)

  const minTtl = options.minTtl ?? DEFAULT_MIN_TTL_SECONDS
  for (let round = 1; ; round += 1) {
    const searched = await search(deps, principal, { resource, organization, minTtl }, located)
    located = searched.located
    const { found } = searched
    if (!found) {
      if (match && !matched) deps.directories.compare(match, undefined)
      throw await noneFor(deps, principal, resource, searched)
    }
    const best = toMatch(organization, found, located)
    deps.directories.compare(best, found.directory_version)
    const row = await lease(best)
    if (row && holds(row, best) && canServe(row, new Date(deps.clock()))) return serve(row)
    // A connection that moved, ended or went away meanwhile is no longer the best. One that is locked is worth waiting for.
    const isLocked = !row && (await deps.leasesById.isLocked({ ...request, connectionId: best.connectionId }))
    if (isLocked || round === MOST_SEARCHES) return leaseTokenOf(deps, best.connectionId, principal, options)
  }
}

type Sought = { resource: ResourceUrl; organization: string; minTtl: number }
type Searched = {
  located: Located
  query: CandidateQuery
  found: Best | undefined
  /** Every candidate, where nothing was learned since they were read. */
  ranked: RankedCandidate[] | undefined
}

/** Lets the database find the connection, once GitLab was asked, where it has to be, who reaches the project. */
const search = async (
  deps: FindByUrlDeps,
  principal: Principal,
  { resource, organization, minTtl }: Sought,
  known: Located,
): Promise<Searched> => {
  let located = known
  let query = { ...queryOf(principal, organization, located), minTtl }
  let found = await deps.findBest(query)
  if (found?.instances_version !== located.version) {
    located = withinPrefixes(principal, await deps.locator.locateNow(resource))
    query = { ...queryOf(principal, organization, located), minTtl }
    found = await deps.findBest(query)
  }
  // Of rivals the one that reaches the project is right; and before nobody is, those refused before are tried again.
  let ranked: RankedCandidate[] | undefined
  for (let round = 0; round < MOST_QUESTIONS && (!found || mayBeWrong(found)); round += 1) {
    if (found && isPaused(deps, query, found)) break
    ranked = (await rank(deps, query)).ranked
    if (!(await deps.reach.learn(principal, ranked))) break
    ranked = undefined
    found = await deps.findBest(query)
  }
  return { located, query, found, ranked }
}

const toMatch = (organization: string, best: Best, { version }: Located): Match => ({
  connectionId: best.connection_id,
  organization,
  instanceId: best.on_instance,
  version: version + best.directory_version,
})

/** Whether instances and directory are still those by which it was found. */
const holds = ({ instances_version, directory_version }: MatchLeaseRow, { version }: Match): boolean =>
  instances_version + directory_version === version

const mayBeWrong = ({ has_rivals, reaches }: Best): boolean => has_rivals && !reaches

const canServe = (row: LeaseRow, now: Date): boolean =>
  isLeased(row) || isServable({ ...row.refused, token_expires_at: row.token_expires_at }, now)

/** Spares the search for rivals where GitLab is not to be asked about them. */
const isPaused = (
  { reach }: FindByUrlDeps,
  { organization, covering }: CandidateQuery,
  { on_instance: instanceId }: Best,
) => {
  const project = covering.find((path) => path.instanceId === instanceId)?.project ?? ''
  return reach.isPaused({ organization, instanceId, project })
}

/** A text that is no URL is the first fault: nobody has to name an organization for it. */
const read = (principal: Principal, { url, organization }: ByUrl) => {
  const isKnown = organization !== undefined || organizationsOf(principal)?.length === 1
  const early = isKnown ? undefined : readUrl(url)
  return { organization: requireOneOrganization(principal, organization), resource: early ?? readUrl(url) }
}

const queryOf = (
  { id }: Principal,
  organization: string,
  { places }: Located,
): Omit<CandidateQuery, 'minTtl'> => ({
  accessKeyId: id,
  organization,
  covering: uniqueOf(
    places.flatMap(({ instanceId, paths, project }) => paths.map((path) => ({ instanceId, path, project }))),
  ),
})

/** SSH may lead to one instance by two readings, which share the shortest paths. */
const uniqueOf = (covering: CoveringPath[]): CoveringPath[] => [
  ...new Map(covering.map((path) => [`${path.instanceId} ${path.path}`, path])).values(),
]

const rank = async (
  { runPrepared, clock, reach }: Pick<FindByUrlDeps, 'runPrepared' | 'clock' | 'reach'>,
  query: CandidateQuery,
): Promise<Choice> => {
  const now = new Date(clock())
  const rows = await findCandidates(runPrepared, query, { now, budgets: reach.budgets.low() })
  return chooseConnection(rows, query.minTtl, now)
}

/**
 * Every connection that covers the URL and exists for the caller, ranked, and which one wins.
 * @param options `learns`: as a lookup does, GitLab is asked who reaches the project, where that is open.
 */
export const rankByUrl = async (
  deps: RankDeps,
  principal: Principal,
  byUrl: ByUrl,
  { minTtl = DEFAULT_MIN_TTL_SECONDS, learns = false }: Pick<LeaseOptions, 'minTtl'> & { learns?: boolean },
): Promise<Choice> => {
  const { resource, organization } = read(principal, byUrl)
  const located = withinPrefixes(principal, await deps.locator.locateNow(resource))
  const query = { ...queryOf(principal, organization, located), minTtl }
  let choice = await rank(deps, query)
  for (let round = 0; learns && round < MOST_QUESTIONS; round += 1) {
    if (!(await deps.reach.learn(principal, choice.ranked))) break
    choice = await rank(deps, query)
  }
  return choice
}

/** What is told when nothing can be had for the URL. */
const noneFor = async (
  deps: RankDeps,
  principal: Principal,
  resource: ResourceUrl,
  { query, ranked }: Pick<Searched, 'query' | 'ranked'>,
): Promise<Problem> => {
  const candidates = ranked ?? (await rank(deps, query)).ranked
  if (candidates.length > 0) return noConnection(candidates)
  // A connection that would cover the URL if its scheme or port were another; told only to who may use it.
  const findNear = async (other: ResourceUrl) => {
    const near = withinPrefixes(principal, await deps.locator.locateNear(other))
    if (near.places.length === 0) return undefined
    const { covering } = queryOf(principal, query.organization, near)
    if (isDeepStrictEqual(covering, query.covering)) return undefined
    return (await rank(deps, { ...query, covering })).ranked[0]
  }
  const found = await findNear(resource)
  if (found) return noConnection([], hintFor(resource, found.base_url))
  const registry = behindRegistry(resource)
  const ofRegistry = registry && (await findNear(registry))
  return noConnection([], ofRegistry && registryHintFor(resource, ofRegistry.base_url))
}

/** More tell nobody more. */
const MOST_TOLD = 20

const noConnection = (ranked: RankedCandidate[], hint?: Hint | undefined): Problem => {
  const [best] = ranked
  const detail = best
    ? `A connection covers this URL, but ${best.reason}: ${best.id} of ${best.organization}.`
    : 'No connection within your organizations covers this URL.'
  return new Problem('no_connection_for_url', hint ? `${detail} ${hint.detail}` : detail, {
    members: {
      candidates: ranked.slice(0, MOST_TOLD).map(toCandidate),
      ...(hint ? { hint: hint.member } : {}),
    },
  })
}

const toCandidate = ({ id, organization, path, status }: RankedCandidate) => ({
  connection_id: id,
  organization,
  group: path || null,
  status,
})
