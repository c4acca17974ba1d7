import { LRUCache } from 'lru-cache'
import type { Clock } from '../clock/clock.ts'
import { coalesce } from '../coalesce.ts'
import type { RunPrepared } from '../db/database.ts'
import { findDirectory, type Match } from './queries.ts'
import { bytesOf, type Search } from './search.ts'

/**
 * A directory: which connections an organization has below a group of the first level, by group path. It is learned
 * with the first URL that has a connection there. A directory may be out of date: the statement that leases checks that
 * the match still holds (leasing/queries.ts).
 */
type Directory = {
  /** null = more than one connection has this path. undefined = nothing can be learned of this group. */
  matches: Map<string, Match | null> | undefined
}

export type KnownMatches = {
  /** undefined = not known, or more than one connection covers the same part of the URL. */
  find(search: Search): Match | undefined
  /** Learns the directory of a URL that has a connection, unless it is known that nothing can be learned. */
  learn(search: Search): Promise<void>
  forget(search: Search, match: Match): void
}

/** Some 10,000 groups of the first level. */
const DIRECTORY_BYTES = 20_000_000
/** What an entry takes beside its text, and what each connection in it takes. */
const ENTRY_BYTES = 500
/** After this time a directory that was too large or ambiguous is learned again. */
const AMBIGUOUS_MS = 600_000
/** A group with more connections is searched each time. */
const MOST_CONNECTIONS = 200

type Deps = { runPrepared: RunPrepared; clock: Clock; directoryBytes?: number }

export const createKnownMatches = ({
  runPrepared,
  clock,
  directoryBytes = DIRECTORY_BYTES,
}: Deps): KnownMatches => {
  const directories = new LRUCache<string, Directory>({
    maxSize: directoryBytes,
    sizeCalculation: ({ matches = new Map() }, name) =>
      ENTRY_BYTES * (1 + matches.size) + bytesOf(name, ...matches.keys()),
    perf: { now: clock },
    ttlResolution: 0,
  })

  const keep = ({ directoryName }: Search, matches: Directory['matches']): void => {
    const isWhole = matches && !matches.values().some((match) => match === null)
    directories.set(directoryName, { matches }, isWhole ? {} : { ttl: AMBIGUOUS_MS })
  }

  /** false: the group has a connection that the directory does not know, because it came later. */
  const isKnown = ({ directoryName, groupPaths }: Search): boolean => {
    const directory = directories.get(directoryName)
    return (
      directory !== undefined &&
      (!directory.matches || groupPaths.some((path) => directory.matches?.has(path)))
    )
  }

  const learn = coalesce(
    async (search: Search): Promise<void> => {
      const { organization, topGroup } = search
      if (topGroup === undefined || isKnown(search)) return
      const watched = [topGroup, `/${organization}`]
      const limit = MOST_CONNECTIONS + 1
      const now = new Date(clock())
      const rows = await findDirectory(runPrepared, { ...search, topGroup, watched, limit, now })
      if (rows.length === limit || rows[0]?.is_ambiguous) {
        keep(search, undefined)
        return
      }
      const matches = new Map<string, Match | null>()
      for (const { id, group_path, is_visible, version } of rows)
        if (id !== null && group_path !== null && is_visible)
          matches.set(group_path, matches.has(group_path) ? null : { connectionId: id, watched, version })
      keep(search, matches)
    },
    ({ directoryName }) => directoryName,
  )

  const find = (search: Search): Match | undefined => {
    const matches = directories.get(search.directoryName)?.matches
    if (!matches) return undefined
    for (const path of search.groupPaths) {
      const match = matches.get(path)
      if (match !== undefined) return match ?? undefined
    }
    return undefined
  }

  return {
    learn,
    find,
    forget(search, match) {
      if (find(search) === match) directories.delete(search.directoryName)
    },
  }
}
