import { LRUCache } from 'lru-cache'
import type { Clock } from '../clock/clock.ts'
import { coalesce } from '../connections/coalesce.ts'
import type { RunPrepared } from '../db/database.ts'
import type { Match } from './grants/queries.ts'
import { findDirectory } from './queries.ts'

/** Where a URL is looked for, by one access key. */
export type Search = {
  accessKeyId: string
  /** undefined = all. */
  organizations: string[] | undefined
  baseUrl: string
  /** What may cover the URL, deepest first. */
  groupPaths: string[]
  /** First segment of those; undefined = the URL has none. */
  topGroup: string | undefined
  /** The same for all URLs of which the same is known. */
  name: string
}

export const createSearch = (search: Omit<Search, 'topGroup' | 'name'>): Search => {
  const { accessKeyId, organizations, baseUrl, groupPaths } = search
  const topGroup = groupPaths.findLast((path) => path !== '')
  return {
    ...search,
    topGroup,
    name: [accessKeyId, organizations?.join() ?? '*', baseUrl, topGroup].join(' '),
  }
}

/**
 * Which connections URLs get, learned a group of the first level at a time. That a match still holds is checked by the
 * statement that grants, so that it can be kept for any time, by any number of processes.
 */
export type KnownMatches = {
  /** undefined = not known, or more than one connection covers the same of it. */
  find(search: Search): Match | undefined
  /** Learns what there is to know of all URLs of the group that this one is in. */
  learn(search: Search): Promise<void>
  forget(search: Search): void
}

/** Some 10,000 groups of the first level; at the most about 20 MB. */
const KEPT_CHARACTERS = 8_000_000
/** What an entry takes beside its text, and each of its connections. */
const ENTRY_CHARACTERS = 200
const CONNECTION_CHARACTERS = 200
/** What is too large or ambiguous may have changed by then. */
const KEPT_MS = 600_000
/** A group with more is searched in each time. */
const MOST_CONNECTIONS = 200

/** By group path; null = more than one connection. */
type Directory = Map<string, Match | null>

type Deps = { runPrepared: RunPrepared; clock: Clock; keptCharacters?: number }

export const createKnownMatches = ({
  runPrepared,
  clock,
  keptCharacters = KEPT_CHARACTERS,
}: Deps): KnownMatches => {
  const directories = new LRUCache<string, Directory>({
    maxSize: keptCharacters,
    sizeCalculation: (directory, name) =>
      name.length + ENTRY_CHARACTERS + directory.size * CONNECTION_CHARACTERS,
    ttl: KEPT_MS,
    ttlResolution: 1_000,
    perf: { now: () => performance.now() },
  })
  const learn = coalesce(
    async (search: Search): Promise<void> => {
      const { organizations, baseUrl, topGroup, name } = search
      if (topGroup === undefined || directories.has(name)) return
      const scopes = [topGroup, ...(organizations ?? []).map((organization) => `/${organization}`)]
      const limit = MOST_CONNECTIONS + 1
      const now = new Date(clock())
      const rows = await findDirectory(runPrepared, { ...search, topGroup, scopes, limit, now })
      const directory: Directory = new Map()
      const isUsable = rows.length <= MOST_CONNECTIONS && !rows[0]?.is_ambiguous
      for (const { id, group_path, version } of isUsable ? rows : [])
        if (id !== null && group_path !== null)
          directory.set(
            group_path,
            directory.has(group_path) ? null : { connectionId: id, baseUrl, scopes, version },
          )
      directories.set(name, directory)
    },
    ({ name }) => name,
  )

  return {
    learn,
    find({ name, groupPaths }) {
      const directory = directories.get(name)
      const path = directory && groupPaths.find((path) => directory.has(path))
      return path === undefined ? undefined : (directory?.get(path) ?? undefined)
    },
    forget: ({ name }) => void directories.delete(name),
  }
}
