import type { Database } from '../db/database.ts'
import { listInstances } from './queries.ts'

/** As many as anybody looks through. */
const MOST_INSTANCES = 1000
/** A slip of the keyboard: two letters that changed places count as two. */
const MOST_SLIPS = 2
/** Of a shorter host every other one would be near. */
const SHORTEST_HOST = 8

/** Another number is another machine. */
const ADDRESS = /^\[|^[\d.]+$/

/** How many letters have to be put in, left out or changed (Levenshtein). */
const distance = (a: string, b: string): number => {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1]
    for (const [j, other] of [...b].entries())
      next.push(
        Math.min((next[j] ?? 0) + 1, (row[j + 1] ?? 0) + 1, (row[j] ?? 0) + (letter === other ? 0 : 1)),
      )
    row = next
  }
  return row[b.length] ?? 0
}

/** Pure: the registered base URL that somebody may have meant. The same host comes first, then a slip. */
export const nearestBaseUrl = (baseUrl: string, registered: readonly string[]): string | undefined => {
  const { hostname } = new URL(baseUrl)
  const others = registered.filter((other) => other !== baseUrl)
  const sameHost = others.filter((other) => new URL(other).hostname === hostname)
  if (sameHost.length > 0) return sameHost.sort((a, b) => a.length - b.length)[0]
  if (hostname.length < SHORTEST_HOST || ADDRESS.test(hostname)) return undefined
  return others
    .map((other) => ({ other, slips: distance(hostname, new URL(other).hostname) }))
    .filter(({ slips }) => slips <= MOST_SLIPS)
    .sort((a, b) => a.slips - b.slips)[0]?.other
}

/**
 * "Did you mean …?": of the instances that these organizations may know of.
 * @param organizations undefined = all.
 */
export const suggestInstance = async (
  db: Database,
  baseUrl: string,
  organizations: string[] | undefined,
): Promise<string | undefined> => {
  const rows = await listInstances(db, { organizations, after: undefined, limit: MOST_INSTANCES })
  return nearestBaseUrl(
    baseUrl,
    rows.map(({ base_url }) => base_url),
  )
}
