import type { IncomingHttpHeaders } from 'node:http'
import type { GitLabHttpClient } from '../../gitlab/http-client.ts'
import {
  type ListedGroup,
  type ListedProject,
  mayReadCode,
  onwardOf,
  readGroups,
  readProject,
  readProjects,
} from '../../gitlab/listings.ts'
import { sendFollowing } from '../../gitlab/redirects.ts'
import { atKnownGitLab, type Refusal, refusalOf } from '../../gitlab/refusal.ts'
import type { Place } from '../../places/place.ts'
import { isAllCovered, isByPage, isCovered, pageAt, pathOf, type Reaching, type Step } from './steps.ts'

export type ReadStep = Exclude<Step, { kind: 'mark-projects' | 'mark-groups' }>

export type Page = {
  projects: ListedProject[]
  groups: ListedGroup[]
  /** Where the list goes on; undefined = this was the last page. */
  next: number | undefined
  /** What the connection covers, as the page calls it. */
  places: readonly Place[]
  headers: IncomingHttpHeaders
  tookMs: number
  /** Names the page by all that is on it. */
  ids: string
}

export type Asked =
  | { kind: 'page'; page: Page }
  | { kind: 'refused'; refusal: Refusal }
  /** Smaller pages may be read. */
  | { kind: 'too_large' }
  /** GitLab serves no page so far back. */
  | { kind: 'too_deep' }
  /** GitLab does not show the group or project. */
  | { kind: 'not_shown' }

export type AskOptions = Reaching & {
  position: number
  perPage: number
  /** The ids of the page before; undefined = this process has read none. */
  idsBefore: string | undefined
  since: Date | null
  now: Date
}

/** GitLab's offset limit, and how it refuses. */
const MOST_BY_PAGE = 50_000
const OFFSET_REFUSED = 405

/** A page that is large or slow is read in smaller ones: the next run would ask for the same. */
const TOO_MUCH = new Set(['answer_too_large', 'timeout'])
const LEAST_WHEN_SLOW = 10

const odd = (client: GitLabHttpClient, detail: string): Asked => ({
  kind: 'refused',
  refusal: {
    code: 'gitlab_unavailable',
    detail: `GitLab at ${client.baseUrl} ${detail}.`,
    retryAfterSeconds: 0,
  },
})

/** Asks GitLab for one page of a list. */
export const askPage = async (
  client: GitLabHttpClient,
  token: string,
  step: ReadStep,
  options: AskOptions,
): Promise<Asked> => {
  const { now, position, perPage } = options
  // GitLab ends such lists here. A cache that ignores the page would never.
  if (isByPage(step) && position >= MOST_BY_PAGE) return { kind: 'too_deep' }
  const begun = performance.now()
  const result = await sendFollowing(client, { path: pathOf(step, options), token })
  const tookMs = performance.now() - begun
  if (result.kind === 'failure' && TOO_MUCH.has(result.reason) && perPage > LEAST_WHEN_SLOW)
    return { kind: 'too_large' }
  if (result.kind === 'failure' && result.reason === 'answer_too_large') return { kind: 'too_large' }
  const refusal = refusalOf(result, client.baseUrl)
  if (refusal) return { kind: 'refused', refusal: atKnownGitLab(refusal) }
  if (result.kind === 'failure') return odd(client, 'did not answer')
  const { status, body, headers } = result
  if (status === OFFSET_REFUSED && isByPage(step)) return { kind: 'too_deep' }
  if (status === 404) return { kind: 'not_shown' }
  if (status !== 200) return odd(client, `answered ${status}`)
  const rest = { headers, tookMs, places: options.places }
  if (step.kind === 'project') {
    const project = readProject(body, now)
    if (!project) return odd(client, 'answered with no project')
    return {
      kind: 'page',
      page: { projects: mayReadCode(body) ? [project] : [], groups: [], next: undefined, ids: '', ...rest },
    }
  }
  const listing = step.kind === 'groups' ? readGroups(body) : readProjects(body, now)
  if (!listing) return odd(client, 'answered with no list')
  const onward = onwardOf(headers, { count: listing.count, perPage })
  if (listing.count === 0 && onward === 'yes') return odd(client, 'answered with an empty page in the middle')
  const last = Number(listing.lastId ?? 0)
  const isAgain = isByPage(step) ? listing.ids === options.idsBefore : last <= position
  if (onward === 'yes' && isAgain && !isByPage(step)) return odd(client, 'lists the same projects again')
  // A server that knows no pages answers the same once more: that was all there is.
  if (onward === 'untold' && isAgain)
    return { kind: 'page', page: { projects: [], groups: [], next: undefined, ids: listing.ids, ...rest } }
  const goesOn = onward !== 'no'
  const next = goesOn ? (isByPage(step) ? pageAt(position, perPage) * perPage : last) : undefined
  // A group may have another name than a moment ago.
  const places = step.kind === 'groups' ? asListed(options.places, listing.items) : options.places
  const covered = isAllCovered(step, options)
    ? listing.items
    : listing.items.filter(({ path }) => isCovered(places, path))
  return {
    kind: 'page',
    page: {
      projects: step.kind === 'groups' ? [] : (covered as ListedProject[]),
      groups: step.kind === 'groups' ? (covered as ListedGroup[]) : [],
      next: isPastSince(step, listing.items as ListedProject[], options.since) ? undefined : next,
      ids: listing.ids,
      ...rest,
      places,
    },
  }
}

const asListed = (
  places: readonly Place[],
  groups: readonly { id: string; path: string }[],
): readonly Place[] => {
  const paths = new Map(groups.map(({ id, path }) => [id, path]))
  return places.map((place) => {
    const path = place.kind === 'project' ? undefined : paths.get(place.gitlabId ?? '')
    return path === undefined ? place : { ...place, path }
  })
}

/** The projects of a group come by activity, the latest first: an incremental run needs no older ones. */
const isPastSince = (step: ReadStep, projects: ListedProject[], since: Date | null): boolean => {
  const last = projects.at(-1)?.lastActivityAt
  return step.kind === 'group' && since !== null && last !== undefined && last !== null && last < since
}
