import { LRUCache } from 'lru-cache'
import type { Principal } from '../callers/principal.ts'
import { coalesce } from '../coalesce.ts'
import type { RunPrepared } from '../db/database.ts'
import type { Located } from './locate.ts'
import { type DirectoryRow, findDirectory, MANY } from './queries.ts'
import { REFUSAL } from './reach/queries.ts'

/**
 * A directory: the places of one organization on one instance, with the connections that cover each, of any status. It
 * is a text with an empty line, then a line for each place, in order: the path, a tab, the ids of the connections with
 * commas between. Lines that begin with REFUSAL name whom GitLab refused, and for which project. All access keys share
 * it. It may be out of date: the statement that leases checks its version (leasing/queries.ts).
 */
type Directory = Omit<DirectoryRow, 'places'> & { hasRefusals: boolean }

/** What a directory cost to read, and the searches since then for which it was not there. */
type Cost = { rows: number; searches: number }

/** What a directory is of. */
type Where = { organization: string; instanceId: string }

/** Which connection a URL gets, for as long as the version stays. */
export type Match = { connectionId: string; organization: string; instanceId: string; version: number }

export type Directories = {
  /**
   * The only connection of the longest path; undefined = none, more than one, one that GitLab refused for the project, or
   * no directory: the organization is too large, or to read its directory does not pay yet.
   */
  find(principal: Principal, organization: string, located: Located): Promise<Match | undefined>
  /** Forgets the directory when the database has another version of it; undefined = it has none, or does not tell. */
  compare(where: Where, version: number | undefined): void
}

/** An organization with more places and refusals on an instance is searched by index each time. */
const MOST_LINES = 10_000
/** A search takes the database about as long as to read this many places. */
const ROWS_OF_A_SEARCH = 50
/** Of the organizations that have more; some 200 bytes each. */
const KEPT_COSTS = 10_000
/** Some 7,000 organizations of 34 places. */
const DIRECTORY_BYTES = 16_000_000
/** What an entry takes beside its text and its name, as measured. */
const ENTRY_BYTES = 400

/** V8 keeps a text in one byte a character where it can. */
const bytesOf = (text: string): number =>
  Buffer.byteLength(text) === text.length ? text.length : 2 * text.length

/** The ids in the line of a path, by binary search. */
const idsAt = (text: string, path: string): string[] => {
  let from = 1
  let to = text.length
  while (from < to) {
    const start = text.lastIndexOf('\n', ((from + to) >> 1) - 1) + 1
    const tab = text.indexOf('\t', start)
    const end = text.indexOf('\n', tab)
    const found = text.slice(start, tab)
    if (found === path) return text.slice(tab + 1, end).split(',')
    if (found < path) from = end + 1
    else to = start
  }
  return []
}

/** A line without a project: of connections that are refused too often to be listed. */
const isRefused = (text: string, project: string, id: string): boolean =>
  [`${REFUSAL}${project}`, REFUSAL]
    .map((line) => idsAt(text, line))
    .some((ids) => ids.includes(id) || ids.includes(MANY))

const nameOf = ({ organization, instanceId }: Where) => `${instanceId} ${organization}`

type Deps = { runPrepared: RunPrepared; directoryBytes?: number }

export const createDirectories = ({ runPrepared, directoryBytes = DIRECTORY_BYTES }: Deps): Directories => {
  const kept = new LRUCache<string, Directory>({
    maxSize: directoryBytes,
    sizeCalculation: ({ text }, name) => ENTRY_BYTES + bytesOf(name) + bytesOf(text ?? ''),
  })
  const costs = new LRUCache<string, Cost>({ max: KEPT_COSTS })

  const load = coalesce(async (where: Where) => {
    const { version, places, text } = await findDirectory(runPrepared, { ...where, most: MOST_LINES })
    const lines = text?.split('\n').sort()
    const directory: Directory = {
      version,
      text: lines ? `${lines.join('\n')}\n` : null,
      hasRefusals: lines?.some((line) => line.startsWith(REFUSAL)) ?? false,
    }
    const name = nameOf(where)
    kept.set(name, directory)
    const rows = lines ? Math.max(places, lines.length) : MOST_LINES
    if (rows > ROWS_OF_A_SEARCH) costs.set(name, { rows, searches: 0 })
    else costs.delete(name)
    return directory
  }, nameOf)

  /**
   * Undefined = the searches since the last reading have cost less than another one would. So a large directory that
   * changes all the time, or does not fit into the memory, costs about twice as much as searches alone at the most.
   */
  const read = async (where: Where): Promise<Directory | undefined> => {
    const name = nameOf(where)
    const directory = kept.get(name)
    if (directory) return directory
    const cost = costs.get(name)
    if (!cost || cost.searches * ROWS_OF_A_SEARCH >= cost.rows) return load(where)
    cost.searches += 1
    return undefined
  }

  return {
    async find({ restrictions }, organization, { version, places }) {
      const mayUse = (id: string) => restrictions.connections?.includes(id) ?? true
      let longest = -1
      let best: Match | undefined
      let isTied = false
      for (const { instanceId, paths, project } of places) {
        const directory = await read({ organization, instanceId })
        if (!directory || directory.text === null) return undefined
        const { text, hasRefusals } = directory
        for (const path of paths) {
          if (path.length < longest) break
          const ids = idsAt(text, path)
          const [connectionId, another] = ids.filter(mayUse)
          if (another !== undefined || ids.includes(MANY)) return undefined
          if (connectionId === undefined) continue
          if (hasRefusals && isRefused(text, project, connectionId)) return undefined
          // SSH may lead to one instance by two readings.
          isTied = path.length === longest && (isTied || connectionId !== best?.connectionId)
          longest = path.length
          best = { connectionId, organization, instanceId, version: version + directory.version }
        }
      }
      return isTied ? undefined : best
    },

    compare(where, version) {
      const name = nameOf(where)
      const directory = kept.peek(name)
      if (!directory || directory.version === version) return
      kept.delete(name)
      const cost = costs.get(name)
      // The search that has told so counts.
      if (cost) cost.searches += 1
    },
  }
}
