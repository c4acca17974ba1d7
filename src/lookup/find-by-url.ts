import type { Principal } from '../access-keys/principal.ts'
import type { Clock } from '../clock/clock.ts'
import { DEFAULT_MIN_TTL_SECONDS } from '../connections/serving-decision.ts'
import type { Database } from '../db/database.ts'
import { invalidField, Problem } from '../errors/problem.ts'
import { coveringPaths, parseResourceUrl } from '../gitlab/repository-url.ts'
import { findCandidates } from './queries.ts'
import { type Choice, chooseConnection, type RankedCandidate } from './url-match.ts'

export type UrlWish = { url: string; organization?: string | undefined; minTtl?: number | undefined }

type Deps = { db: Database; clock: Clock }

/** Every connection that covers the URL, ranked, and which one wins. */
export const rankByUrl = async (
  { db, clock }: Deps,
  principal: Principal,
  wish: UrlWish,
): Promise<Choice> => {
  const resource = parseResourceUrl(wish.url)
  if (!resource) {
    throw invalidField(
      'url',
      'is not the URL of a repository or group (https://host/group/project, git@host:group/project.git)',
    )
  }
  const now = new Date(clock())
  const places = resource.baseUrls.flatMap((baseUrl) =>
    coveringPaths(resource.pathBelow(baseUrl)).map((groupPath) => ({ baseUrl, groupPath })),
  )
  const rows = await findCandidates(db, {
    accessKeyId: principal.id,
    organization: wish.organization,
    places,
    now,
  })
  return chooseConnection(rows, wish.minTtl ?? DEFAULT_MIN_TTL_SECONDS, now)
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
