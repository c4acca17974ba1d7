import { isDeepStrictEqual } from 'node:util'
import { mayAskFor, organizationsOf, type Principal, requireOneOrganization } from '../callers/principal.ts'
import type { RunPrepared } from '../db/database.ts'
import { Problem } from '../errors/problem.ts'
import type { ResourceUrl } from '../gitlab/repository-url.ts'
import { isLeased } from '../leases/lease.ts'
import { type LeaseDeps, type LeasedToken, leaseTokenOf, toLeaseRequest } from '../leases/lease-token.ts'
import { DEFAULT_MIN_TTL_SECONDS, firstConditions, type LeaseOptions } from '../leases/serving-decision.ts'
import type { Directories, Match } from './directories.ts'
import { behindRegistry, type Hint, hintFor, registryHintFor } from './hint.ts'
import type { LeaseByUrl } from './leasing/lease-by-url.ts'
import type { UrlLeaseRow } from './leasing/queries.ts'
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
  leaseByUrl: LeaseByUrl
  reach: ReachLearner
}
export type RankDeps = Pick<FindByUrlDeps, 'runPrepared' | 'clock' | 'locator' | 'reach'>

/** A few candidates each; a caller waits no longer. */
const MOST_QUESTIONS = 3

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
  const request = () => toLeaseRequest(principal, options, firstConditions(options))
  const serve = async (row: UrlLeaseRow, isSure: boolean): Promise<LeasedToken> =>
    isLeased(row)
      ? { row, token: await deps.openedTokens.open(row) }
      : leaseTokenOf(deps, row.connection_id, principal, options, undefined, isSure ? row : undefined)

  const located = withinPrefixes(principal, await deps.locator.locate(resource))
  const match = await deps.directories.find(principal, organization, located)
  const matched = match && (await deps.leaseByUrl({ match, ...request() }))
  if (matched && holds(matched, match) && canServe(matched, new Date(deps.clock())))
    return serve(matched, true)

  const minTtl = options.minTtl ?? DEFAULT_MIN_TTL_SECONDS
  let query = { ...queryOf(principal, organization, located), minTtl }
  let { version } = located
  const find = () => deps.leaseByUrl({ search: { ...query, version }, ...request() })
  let found = await find()
  if (found?.instances_version !== version) {
    const locatedNow = withinPrefixes(principal, await deps.locator.locateNow(resource))
    query = { ...queryOf(principal, organization, locatedNow), minTtl }
    version = locatedNow.version
    found = await find()
  }
  deps.directories.compare(organization, match?.instanceId, found)
  // Of rivals the one that reaches the project is right; and before nobody is, those refused before are tried again.
  let ranked: RankedCandidate[] | undefined
  for (let round = 0; round < MOST_QUESTIONS && (!found || mayBeWrong(found)); round += 1) {
    if (found && isPaused(deps, query, found)) break
    ranked = (await rank(deps, query)).ranked
    if (!(await deps.reach.learn(principal, ranked))) break
    ranked = undefined
    found = await find()
  }
  if (found)
    return serve(found, found.instances_version === version && !mayBeWrong(found) && !found.is_locked)
  ranked ??= (await rank(deps, query)).ranked
  if (ranked.length > 0) throw noConnection(ranked)
  throw await noneFor(deps, principal, resource, query)
}

/** Whether the directory was up to date. */
const holds = ({ instances_version, directory_version }: UrlLeaseRow, { version }: Match): boolean =>
  instances_version + directory_version === version

const mayBeWrong = ({ has_rivals, reaches }: UrlLeaseRow): boolean => has_rivals === true && reaches !== true

const canServe = (row: UrlLeaseRow, now: Date): boolean =>
  isLeased(row) || isServable({ ...row.refused, token_expires_at: row.token_expires_at }, now)

/** Spares the search for rivals where GitLab is not to be asked about them. */
const isPaused = (
  { reach }: FindByUrlDeps,
  { organization, covering }: CandidateQuery,
  { on_instance: instanceId }: UrlLeaseRow,
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

/** What is told when nothing covers the URL. */
const noneFor = async (
  deps: RankDeps,
  principal: Principal,
  resource: ResourceUrl,
  query: CandidateQuery,
): Promise<Problem> => {
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
