import { organizationsOf, type Principal } from '../access-keys/principal.ts'
import type { Clock } from '../clock/clock.ts'
import { DEFAULT_MIN_TTL_SECONDS } from '../connections/serving-decision.ts'
import type { RunPrepared } from '../db/database.ts'
import { invalidField, Problem } from '../errors/problem.ts'
import { coveringPaths, parseResourceUrl, type ResourceUrl } from '../gitlab/repository-url.ts'
import { findCandidates, type Place } from './queries.ts'
import { type Choice, chooseConnection, type RankedCandidate } from './url-match.ts'

export type UrlWish = { url: string; organization?: string | undefined; minTtl?: number | undefined }

type Deps = { runPrepared: RunPrepared; clock: Clock }

/** @throws {Problem} invalid_request when it is no URL of a repository or group */
export const readUrl = (url: string): ResourceUrl => {
  const resource = parseResourceUrl(url)
  if (!resource) {
    throw invalidField(
      'url',
      'is not the URL of a repository or group (https://host/group/project, git@host:group/project.git)',
    )
  }
  return resource
}

const placesOf = ({ readings, anyPort }: ResourceUrl): Place[] =>
  readings.flatMap(({ baseUrl, path }) =>
    coveringPaths(path).map((groupPath) => ({ baseUrl, anyPort, groupPath })),
  )

/** The organizations in which to search; undefined = all. */
export const searchedIn = (principal: Principal, organization: string | undefined): string[] | undefined =>
  organization === undefined ? organizationsOf(principal) : [organization]

/** Every connection that covers the URL, ranked, and which one wins. */
export const rankByUrl = async (
  { runPrepared, clock }: Deps,
  principal: Principal,
  { url, organization, minTtl }: UrlWish,
): Promise<Choice> => {
  const now = new Date(clock())
  const organizations = searchedIn(principal, organization)
  const places = placesOf(readUrl(url))
  const rows = await findCandidates(runPrepared, { accessKeyId: principal.id, organizations, places, now })
  return chooseConnection(rows, minTtl ?? DEFAULT_MIN_TTL_SECONDS, now)
}

/** @throws {Problem} no_connection_for_url, ambiguous_connection */
export const findConnectionByUrl = async (
  deps: Deps,
  principal: Principal,
  wish: UrlWish,
): Promise<string> => {
  const choice = await rankByUrl(deps, principal, wish)
  switch (choice.kind) {
    case 'winner':
      return choice.winner.id
    case 'ambiguous':
      throw new Problem(
        'ambiguous_connection',
        'Connections of more than one organization fit: name the organization.',
        {
          members: { candidates: choice.tied.map(toCandidate) },
        },
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
