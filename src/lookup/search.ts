import { LRUCache } from 'lru-cache'
import { mayAskAt, type Principal } from '../callers/principal.ts'
import { invalidField } from '../errors/problem.ts'
import { coveringPaths, parseResourceUrl, type ResourceUrl } from '../gitlab/repository-url.ts'

/**
 * A search: where to look for the connection of a URL that can be read in one way only.
 * Made from the URL, the organization and the access key. Searches are kept: the same text always gives the same one.
 */
export type Search = {
  accessKeyId: string
  organization: string
  baseUrl: string
  /** If one of these is an instance too, the URL has more than one reading: then the rules of url-match.ts decide. */
  otherBaseUrls: string[]
  /** The groups that cover the URL, deepest first; '' = a connection without a group. */
  groupPaths: string[]
  /** First segment of those; undefined = the URL has none. */
  topGroup: string | undefined
  /** Names the directory (known-matches.ts) in which the answer stands. */
  directoryName: string
}

/**
 * More than a thousand URLs. With more space a search would live longer, and what lives long costs a full collection of
 * garbage.
 */
const SEARCH_BYTES = 2_000_000
/** What an entry takes beside its text. */
const ENTRY_BYTES = 500

export const bytesOf = (...texts: string[]): number => texts.reduce((sum, { length }) => sum + 2 * length, 0)

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

export type SearchReader = {
  /**
   * @returns undefined when the URL may be read in more than one way.
   * @throws {Problem} invalid_request when it is no URL of a repository or group
   */
  read(principal: Principal, organization: string, url: string): Search | undefined
}

export const createSearchReader = (): SearchReader => {
  const kept = new LRUCache<string, { search: Search | undefined }>({
    maxSize: SEARCH_BYTES,
    sizeCalculation: ({ search }, name) =>
      ENTRY_BYTES + bytesOf(name, ...(search?.groupPaths ?? []), ...(search?.otherBaseUrls ?? [])),
  })
  return {
    read(principal, organization, url) {
      const name = `${principal.id} ${organization} ${url}`
      const known = kept.get(name)
      if (known) return known.search
      const search = createSearch(principal, organization, url)
      kept.set(name, { search })
      return search
    },
  }
}

const createSearch = (principal: Principal, organization: string, url: string): Search | undefined => {
  const { readings, anyPort, protocols } = readUrl(url)
  const reading = readings.at(-1)
  // Without its scheme a URL may mean two instances.
  if (reading === undefined || anyPort || protocols.length > 1 || !mayAskAt(principal, reading))
    return undefined
  const { baseUrl } = reading
  const groupPaths = coveringPaths(reading)
  const topGroup = groupPaths.findLast((path) => path !== '')
  // `acme.wiki` may be the wiki of acme, or a group: a directory is of one of them.
  if (groupPaths.some((path) => path !== '' && path.split('/')[0] !== topGroup)) return undefined
  // Who may use some of the connections alone has a directory of these.
  const seenBy = principal.restrictions.connections ? [principal.id] : []
  return {
    accessKeyId: principal.id,
    organization,
    baseUrl,
    otherBaseUrls: readings.slice(0, -1).map((other) => other.baseUrl),
    groupPaths,
    topGroup,
    directoryName: [...seenBy, organization, baseUrl, topGroup].join(' '),
  }
}
