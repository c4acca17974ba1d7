import { LRUCache } from 'lru-cache'
import type { Principal } from '../access-keys/principal.ts'
import type { Clock } from '../clock/clock.ts'
import { coalesce } from '../connections/coalesce.ts'
import type { RunPrepared } from '../db/database.ts'
import { coveringPaths } from '../gitlab/repository-url.ts'
import { readUrl, searchedIn } from './find-by-url.ts'
import type { Match } from './grants/grant.ts'
import { findDirectory } from './queries.ts'

/** Where a URL is looked for. */
export type Search = {
  accessKeyId: string
  /** undefined = all: then a connection that is limited to no group is not looked for. */
  organizations: string[] | undefined
  baseUrl: string
  otherBaseUrls: string[]
  /** What may cover the URL, deepest first. */
  groupPaths: string[]
  /** First segment of those; undefined = the URL has none. */
  topGroup: string | undefined
  /** Of the directory in which the answer stands. */
  directoryName: string
  /** That directory, once it was found: it is not to be looked for each time. */
  directory?: Directory | undefined
}

/** Which connections there are below a group of the first level. */
type Directory = {
  /** By group path; null = more than one connection. undefined = nothing can be learned of this group. */
  matches: Map<string, Match | null> | undefined
  /** It may have a successor. */
  isForgotten: boolean
}

/**
 * Which connections URLs get, learned a group of the first level at a time. That a match still holds is checked by the
 * statement that grants, so that it does not matter how old it is, and what other processes have done since.
 */
export type KnownMatches = {
  /**
   * @returns undefined when the URL takes the rules of find-by-url.ts.
   * @throws {Problem} invalid_request when it is no URL of a repository or group
   */
  readSearch(principal: Principal, organization: string | undefined, url: string): Search | undefined
  /** undefined = not known, or more than one connection covers the same of it. */
  find(search: Search): Match | undefined
  /** Learns the group of a URL that has a connection, unless it is known that nothing can be learned. */
  learn(search: Search): Promise<void>
  forget(search: Search, match: Match): void
}

/** Each is looked for at each group that covers the URL. Of a key with more, all are searched, and the key is checked. */
const MOST_ORGANIZATIONS = 10
/** URLs that come again are read once: above a thousand of them. More would grow old before they are thrown away, and
 * what is old costs a full collection of garbage. */
const SEARCH_BYTES = 2_000_000
/** Some 10,000 groups of the first level. */
const DIRECTORY_BYTES = 20_000_000
/** What an entry takes beside its text, and each connection in it. */
const ENTRY_BYTES = 500
/** What was too large or ambiguous may have changed by then. */
const AMBIGUOUS_MS = 600_000
/** A group with more is searched in each time. */
const MOST_CONNECTIONS = 200

const bytesOf = (...texts: string[]): number => texts.reduce((sum, { length }) => sum + 2 * length, 0)

type Deps = { runPrepared: RunPrepared; clock: Clock; directoryBytes?: number }

export const createKnownMatches = ({
  runPrepared,
  clock,
  directoryBytes = DIRECTORY_BYTES,
}: Deps): KnownMatches => {
  const searches = new LRUCache<string, { search: Search | undefined }>({
    maxSize: SEARCH_BYTES,
    sizeCalculation: ({ search }, name) =>
      ENTRY_BYTES + bytesOf(name, ...(search?.groupPaths ?? []), ...(search?.otherBaseUrls ?? [])),
  })
  const directories = new LRUCache<string, Directory>({
    maxSize: directoryBytes,
    sizeCalculation: ({ matches = new Map() }, name) =>
      ENTRY_BYTES * (1 + matches.size) + bytesOf(name, ...matches.keys()),
    perf: { now: clock },
    ttlResolution: 0,
    dispose: (directory) => {
      directory.isForgotten = true
      // Searches that found it may live longer.
      directory.matches = undefined
    },
  })

  const keep = ({ directoryName }: Search, matches: Directory['matches']): void => {
    const isWhole = matches && !matches.values().some((match) => match === null)
    directories.set(directoryName, { matches, isForgotten: false }, isWhole ? {} : { ttl: AMBIGUOUS_MS })
  }

  const isKnown = ({ directoryName, groupPaths }: Search): boolean => {
    const directory = directories.get(directoryName)
    // A group that has a connection, and none in the directory: it came later.
    return (
      directory !== undefined &&
      (!directory.matches || groupPaths.some((path) => directory.matches?.has(path)))
    )
  }

  const learn = coalesce(
    async (search: Search): Promise<void> => {
      const { organizations, topGroup } = search
      if (topGroup === undefined || isKnown(search)) return
      const scopes = [topGroup, ...(organizations ?? []).map((organization) => `/${organization}`)]
      const limit = MOST_CONNECTIONS + 1
      const now = new Date(clock())
      const rows = await findDirectory(runPrepared, { ...search, topGroup, scopes, limit, now })
      if (rows.length === limit || rows[0]?.is_ambiguous) {
        keep(search, undefined)
        return
      }
      const matches = new Map<string, Match | null>()
      for (const { id, group_path, is_visible, version } of rows)
        if (id !== null && group_path !== null && is_visible)
          matches.set(group_path, matches.has(group_path) ? null : { connectionId: id, scopes, version })
      keep(search, matches)
    },
    ({ directoryName }) => directoryName,
  )

  const find = (search: Search): Match | undefined => {
    if (!search.directory || search.directory.isForgotten)
      search.directory = directories.get(search.directoryName)
    const matches = search.directory?.matches
    if (!matches) return undefined
    for (const path of search.groupPaths) {
      const match = matches.get(path)
      if (match !== undefined) return match ?? undefined
    }
    return undefined
  }

  return {
    readSearch(principal, organization, url) {
      const name = `${principal.id} ${organization ?? ''} ${url}`
      const known = searches.get(name)
      if (known) return known.search
      const search = createSearch(principal, organization, url)
      searches.set(name, { search })
      return search
    },
    learn,
    find,
    forget(search, match) {
      if (find(search) === match) directories.delete(search.directoryName)
    },
  }
}

const createSearch = (
  principal: Principal,
  organization: string | undefined,
  url: string,
): Search | undefined => {
  const { readings, anyPort } = readUrl(url)
  const reading = readings.at(-1)
  if (reading === undefined || anyPort) return undefined
  const { baseUrl, path } = reading
  const searched = searchedIn(principal, organization)
  const organizations = searched && searched.length <= MOST_ORGANIZATIONS ? searched : undefined
  // Of all organizations together, any number may have a connection without a group.
  const groupPaths = organizations ? coveringPaths(path) : coveringPaths(path).slice(0, -1)
  const topGroup = groupPaths.findLast((path) => path !== '')
  const within = organizations?.join() ?? (searched ? principal.id : '*')
  return {
    accessKeyId: principal.id,
    organizations,
    baseUrl,
    otherBaseUrls: readings.slice(0, -1).map((other) => other.baseUrl),
    groupPaths,
    topGroup,
    directoryName: [within, baseUrl, topGroup].join(' '),
  }
}
