import { LRUCache } from 'lru-cache'
import type { Principal } from '../callers/principal.ts'
import { coalesce } from '../coalesce.ts'
import type { RunPrepared } from '../db/database.ts'
import type { Located } from './locate.ts'
import { type DirectoryRow, findDirectory } from './queries.ts'
import { REFUSAL } from './reach/queries.ts'

/**
 * A directory: the places of one organization on one instance, with the connections that cover each, of any status. It
 * is a text with a line for each place: the path, a tab, the ids of the connections with commas between. Lines that begin
 * with REFUSAL name whom GitLab refused, and for which project. All access keys share it. It may be out of date: the
 * statement that leases checks its version (leasing/queries.ts).
 */
type Directory = DirectoryRow & { hasRefusals: boolean }

/** Which connection a URL gets, for as long as the version stays. */
export type Match = { connectionId: string; organization: string; instanceId: string; version: number }

/** On which instance the database has found a connection, and the version of the directory there. */
type Found = { on_instance: string; directory_version: number }

export type Directories = {
  /**
   * The only connection of the longest path; undefined = none, more than one, one that GitLab refused for the project, or
   * an organization that is too large.
   */
  find(principal: Principal, organization: string, located: Located): Promise<Match | undefined>
  /** Forgets what is out of date, by what the database has found; undefined = nothing, on the instance of the match. */
  compare(organization: string, instanceId: string | undefined, found: Found | undefined): void
}

/** An organization with more places on an instance is searched by index each time. */
const MOST_PLACES = 500
/** Some 7,000 organizations of 34 places. */
const DIRECTORY_BYTES = 16_000_000
/** What an entry takes beside its text and its name, as measured. */
const ENTRY_BYTES = 400

/** V8 keeps a text in one byte a character where it can. */
const bytesOf = (text: string): number =>
  Buffer.byteLength(text) === text.length ? text.length : 2 * text.length

const idsAt = (text: string, path: string): string[] => {
  const line = `\n${path}\t`
  const at = text.indexOf(line)
  if (at === -1) return []
  const from = at + line.length
  return text.slice(from, text.indexOf('\n', from)).split(',')
}

/** A line without a project: of connections that are refused too often to be listed. */
const isRefused = (text: string, project: string, id: string): boolean =>
  [`${REFUSAL}${project}`, REFUSAL].some((line) => idsAt(text, line).includes(id))

type Deps = { runPrepared: RunPrepared; directoryBytes?: number }

export const createDirectories = ({ runPrepared, directoryBytes = DIRECTORY_BYTES }: Deps): Directories => {
  const kept = new LRUCache<string, Directory>({
    maxSize: directoryBytes,
    sizeCalculation: ({ text }, name) => ENTRY_BYTES + bytesOf(name) + bytesOf(text ?? ''),
  })
  const nameOf = (organization: string, instanceId: string) => `${instanceId} ${organization}`

  const load = coalesce(
    async ({ organization, instanceId }: { organization: string; instanceId: string }) => {
      const row = await findDirectory(runPrepared, { organization, instanceId, most: MOST_PLACES })
      const directory = { ...row, hasRefusals: row.text?.includes(`\n${REFUSAL}`) ?? false }
      kept.set(nameOf(organization, instanceId), directory)
      return directory
    },
    ({ organization, instanceId }) => nameOf(organization, instanceId),
  )

  return {
    async find({ restrictions }, organization, { version, places }) {
      const mayUse = (id: string) => restrictions.connections?.includes(id) ?? true
      let longest = -1
      let matches: Match[] = []
      for (const { instanceId, paths, project } of places) {
        const directory =
          kept.get(nameOf(organization, instanceId)) ?? (await load({ organization, instanceId }))
        const { text, hasRefusals } = directory
        if (text === null) return undefined
        for (const path of paths) {
          if (path.length < longest) break
          const ids = idsAt(text, path).filter(mayUse)
          if (ids.length === 0) continue
          if (path.length > longest) matches = []
          longest = path.length
          if (hasRefusals && ids.some((id) => isRefused(text, project, id))) return undefined
          // SSH may lead to one instance by two readings.
          const others = ids.filter((id) => matches.every(({ connectionId }) => connectionId !== id))
          for (const connectionId of others)
            matches.push({ connectionId, organization, instanceId, version: version + directory.version })
        }
      }
      return matches.length === 1 ? matches[0] : undefined
    },

    compare(organization, instanceId, found) {
      const name = nameOf(organization, found?.on_instance ?? instanceId ?? '')
      if (kept.get(name)?.version !== found?.directory_version) kept.delete(name)
    },
  }
}
