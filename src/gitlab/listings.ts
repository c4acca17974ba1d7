import type { IncomingHttpHeaders } from 'node:http'
import {
  AccountId,
  as,
  isPath,
  LONGEST_NAME,
  type Members,
  readGroupPath,
  readPast,
  readText,
} from './answers.ts'

/**
 * Pages of projects and groups as GitLab lists them. Tolerant: an item that cannot be one is left out and keeps no other
 * from being read; a member that is nonsense counts as not told. Pure.
 */

export type Visibility = 'private' | 'internal' | 'public'

export type ListedProject = {
  id: string
  path: string
  name: string | null
  visibility: Visibility | null
  archived: boolean
  defaultBranch: string | null
  lastActivityAt: Date | null
  /** Of the repository; null = GitLab does not tell. */
  sizeBytes: string | null
}

export type ListedGroup = {
  id: string
  path: string
  name: string | null
  visibility: Visibility | null
  parentId: string | null
}

export type Listing<Item> = {
  items: Item[]
  /** With those that could not be read. */
  count: number
  /** The greatest id of the page; undefined = there is none. */
  lastId: string | undefined
  /** Names the page by all that is on it. */
  ids: string
}

const readId = (value: unknown): string | undefined => {
  const id = as(AccountId, value)
  return id === undefined ? undefined : String(id)
}

const VISIBILITIES: ReadonlySet<unknown> = new Set(['private', 'internal', 'public'])
const readVisibility = (value: unknown): Visibility | null =>
  VISIBILITIES.has(value) ? (value as Visibility) : null

const readSize = (value: unknown): string | null => {
  const { repository_size } = (value ?? {}) as Members
  return Number.isSafeInteger(repository_size) && Number(repository_size) >= 0
    ? String(repository_size)
    : null
}

/**
 * Whether the account may read the code, whatever its role is called. Beside the URL to clone, GitLab names the default
 * branch to those alone who may, also of an empty project. Where it tells neither, nothing follows.
 */
export const mayReadCode = (project: unknown): boolean => {
  const { default_branch, http_url_to_repo } = (project ?? {}) as Members
  return default_branch !== undefined || http_url_to_repo === undefined
}

/** `GET /api/v4/projects/:id`, or one item of a list; undefined = no project. */
export const readProject = (value: unknown, now: Date): ListedProject | undefined => {
  if (typeof value !== 'object' || value === null) return undefined
  const project = value as Members
  const id = readId(project.id)
  const path = project.path_with_namespace
  if (id === undefined || !isPath(path)) return undefined
  return {
    id,
    path,
    name: readText(project.name, LONGEST_NAME),
    visibility: readVisibility(project.visibility),
    archived: project.archived === true,
    defaultBranch: readText(project.default_branch, LONGEST_NAME),
    lastActivityAt: readPast(project.last_activity_at, now),
    sizeBytes: readSize(project.statistics),
  }
}

const readGroup = (value: unknown): ListedGroup | undefined => {
  if (typeof value !== 'object' || value === null) return undefined
  const group = value as Members
  const id = readId(group.id)
  const path = readGroupPath(group)
  if (id === undefined || path === undefined) return undefined
  return {
    id,
    path,
    name: readText(group.name, LONGEST_NAME),
    visibility: readVisibility(group.visibility),
    parentId: readId(group.parent_id) ?? null,
  }
}

/** One item for each id, and for each path whatever its case: a list that tells one twice tells the same. */
const distinct = <Item extends { id: string; path: string }>(items: Item[]): Item[] => {
  const byPath = new Map(items.map((item) => [item.path.toLowerCase(), item]))
  return [...new Map([...byPath.values()].map((item) => [item.id, item])).values()]
}

const readListing = <Item extends { id: string; path: string }>(
  body: unknown,
  read: (value: unknown) => Item | undefined,
): Listing<Item> | undefined => {
  if (!Array.isArray(body)) return undefined
  const ids = body.flatMap((value) => readId((value as Members | null)?.id) ?? [])
  return {
    items: distinct(body.flatMap((value) => read(value) ?? [])),
    count: body.length,
    lastId: ids.length === 0 ? undefined : String(Math.max(...ids.map(Number))),
    ids: ids.join(),
  }
}

/** A page of `GET /api/v4/projects` or `/groups/:id/projects`, those whose code may be read; undefined = no list. */
export const readProjects = (body: unknown, now: Date): Listing<ListedProject> | undefined =>
  readListing(body, (value) => (mayReadCode(value) ? readProject(value, now) : undefined))

/** A page of `GET /api/v4/groups`; undefined = no list. */
export const readGroups = (body: unknown): Listing<ListedGroup> | undefined => readListing(body, readGroup)

const NEXT_LINK = /;\s*rel\s*=\s*(?:"[^"]*\bnext\b[^"]*"|next\b)/i
/** Other links than these are none of a list. */
const LIST_LINK = /;\s*rel\s*=\s*(?:"[^"]*\b(?:first|prev|last)\b[^"]*"|(?:first|prev|last)\b)/i

/**
 * Whether the list goes on.
 *
 * - `yes`, `no`: as `Link` or X-Next-Page says.
 * - `untold`: neither is there, as what stands before GitLab may leave them out, and shorten pages as well. The list ends with an
 *   empty page. GitLab itself tells with each page by number, and by id with each page that is not empty.
 *
 * A page with more than was asked for is of a server that knows no pages.
 */
export type Onward = 'yes' | 'no' | 'untold'

export const onwardOf = (
  headers: IncomingHttpHeaders,
  { count, perPage }: { count: number; perPage: number },
): Onward => {
  const { link, 'x-next-page': number } = headers
  if (typeof link === 'string' && NEXT_LINK.test(link)) return 'yes'
  if (typeof number === 'string') return /[1-9]/.test(number) ? 'yes' : 'no'
  if (typeof link === 'string' && LIST_LINK.test(link)) return 'no'
  return count > 0 && count <= perPage ? 'untold' : 'no'
}

/** A limit that is this far used up is left to others. */
const RESERVED_SHARE = 0.1
const LEAST_RESERVED = 5
/** A list takes two thirds of the time at the most. */
const COURTESY_SHARE = 0.5
const LONGEST_COURTESY_MS = 250
const LONGEST_RESET_SECONDS = 3_600

const readCount = (value: string | string[] | undefined): number | undefined =>
  typeof value === 'string' && /^\d{1,12}$/.test(value) ? Number(value) : undefined

/**
 * How long to wait after a page, in milliseconds: until GitLab counts anew where its limit is nearly used up
 * (RateLimit-Limit, -Remaining, -Reset), else half as long as the answer took.
 */
export const pauseAfterPage = (headers: IncomingHttpHeaders, tookMs: number, now: Date): number => {
  const remaining = readCount(headers['ratelimit-remaining'])
  const limit = readCount(headers['ratelimit-limit']) ?? 0
  const reset = readCount(headers['ratelimit-reset'])
  const reserved = Math.max(LEAST_RESERVED, limit * RESERVED_SHARE)
  if (remaining !== undefined && reset !== undefined && remaining < reserved) {
    const answeredAt = Date.parse(headers.date ?? '')
    const from = Number.isNaN(answeredAt) ? now.getTime() : answeredAt
    const waitMs = Math.min(reset * 1000 - from, LONGEST_RESET_SECONDS * 1000)
    if (waitMs > 0) return waitMs
  }
  return Math.min(tookMs * COURTESY_SHARE, LONGEST_COURTESY_MS)
}
