import { setTimeout as sleep } from 'node:timers/promises'
import { addSeconds } from '../../clock/clock.ts'
import type { Database } from '../../db/database.ts'
import type { ConnectionSyncRow } from '../../db/tables.ts'
import type { GitLabHttpClient } from '../../gitlab/http-client.ts'
import { pauseAfterPage } from '../../gitlab/listings.ts'
import type { Refusal } from '../../gitlab/refusal.ts'
import type { GitLabAccess } from '../../instances/gitlab-access.ts'
import type { LeasedToken } from '../../leases/lease-token.ts'
import type { Place } from '../../places/place.ts'
import { type Asked, askPage, type Page, type ReadStep } from './ask-page.ts'
import type { Begun } from './begin-sync.ts'
import {
  changeSync,
  findGreatestProjectId,
  keepConnection,
  MARKED_AT_ONCE,
  markMissingGroups,
  markMissingProjects,
  type SyncChanges,
  saveGroups,
  saveProjects,
} from './queries.ts'
import { isByPage, nameOf, PAGE_SIZES, reachingOf, type Step, stepAfter } from './steps.ts'
import { CLAIM_SECONDS } from './timing.ts'

/** Where a run is. Changes with each page, in memory after the row has changed. */
export type Cursor = Pick<ConnectionSyncRow, 'is_exact' | 'pages' | 'projects' | 'groups'> & {
  /** undefined = everything was read. */
  step: Step | undefined
  position: number
  perPage: number
}

export type Reading = Begun & {
  client: GitLabHttpClient
  places: readonly Place[]
  steps: readonly Step[]
  cursor: Cursor
  /** Of the page that was read last, in the step under way. */
  idsBefore?: string | undefined
  signal: AbortSignal
}

export type Stop =
  | { kind: 'read' }
  /** The lease ends soon. */
  | { kind: 'lease_over' }
  | { kind: 'refused'; refusal: Refusal }
  | { kind: 'put_off'; until: Date }
  /** GitLab's lists do not end. */
  | { kind: 'endless' }
  /** Another process reads by now. */
  | { kind: 'lost' }
  | { kind: 'stopped' }

const LAST_SECONDS = 20
/** Two million projects, in GitLab's largest pages. No list is as long, other than of a server that makes it up. */
export const MOST_PAGES = 20_000
/** The process waits for as long itself; a longer pause is left to a later run. */
const LONGEST_PAUSE_MS = 15_000

type Deps = Pick<GitLabAccess, 'db' | 'clock'>

/**
 * Reads page after page, each saved with the place at which the next one begins, until something ends it.
 * @param leaseMs shorter than a lease lasts, unless its token ends before
 */
export const readLists = async (
  deps: Deps,
  reading: Reading,
  { row, token }: LeasedToken,
  leaseMs: number,
): Promise<Stop> => {
  const { clock } = deps
  const { cursor, signal } = reading
  const begun = performance.now()
  const isLeaseOver = () =>
    performance.now() - begun > leaseMs ||
    (row.token_expires_at !== null && addSeconds(new Date(clock()), LAST_SECONDS) >= row.token_expires_at)
  for (;;) {
    const { step } = cursor
    if (signal.aborted) return { kind: 'stopped' }
    if (!step) return { kind: 'read' }
    if (step.kind === 'mark-projects' || step.kind === 'mark-groups') {
      if (!(await mark(deps, reading, step))) return { kind: 'lost' }
      continue
    }
    if (cursor.pages >= MOST_PAGES) return { kind: 'endless' }
    const asked = await askPage(reading.client, token, step, {
      ...cursor,
      idsBefore: reading.idsBefore,
      since: reading.row.kind === 'incremental' ? reading.row.since : null,
      ...reachingOf(reading.connection, reading.places),
      now: new Date(clock()),
    })
    const stop =
      asked.kind === 'page'
        ? await keepPage(deps, reading, step, asked.page)
        : await cope(deps, reading, step, asked)
    if (stop) return stop
    if (cursor.step && isLeaseOver()) return { kind: 'lease_over' }
  }
}

/** What the row says when a step ends. @param greatestId of the page that ends it */
const enter = async (
  db: Database,
  reading: Reading,
  step: Step | undefined,
  greatestId = 0,
): Promise<Partial<Cursor>> => ({
  step,
  position:
    step?.kind === 'new' ? Math.max(greatestId, await findGreatestProjectId(db, reading.connection.id)) : 0,
  ...(step?.kind === 'groups' ? { is_exact: true } : {}),
})

/** Moves on in the row, together with what `work` saves. @returns false when another process reads by now. */
const advance = async (
  { db, clock }: Deps,
  reading: Reading,
  changes: Partial<Cursor>,
  work?: (transaction: Database) => Promise<unknown>,
): Promise<boolean> => {
  const next = { ...reading.cursor, ...changes }
  const { step, perPage: _, ...counted } = next
  const row: SyncChanges = {
    ...counted,
    // The end of the run is written with what follows from it.
    ...(step ? { step: nameOf(step) } : {}),
    attempt_deadline: addSeconds(new Date(clock()), CLAIM_SECONDS),
    failures: 0,
    error_code: null,
    error_detail: null,
  }
  const isOurs = await db.transaction().execute(async (transaction) => {
    if (!(await keepConnection(transaction, reading.connection.id))) return false
    if (!(await changeSync(transaction, reading.claim, row))) return false
    await work?.(transaction)
    return true
  })
  if (!isOurs) return false
  Object.assign(reading.cursor, next)
  reading.row.failures = 0
  return true
}

const keepPage = async (
  deps: Deps,
  reading: Reading,
  step: ReadStep,
  page: Page,
): Promise<Stop | undefined> => {
  const { cursor, connection, row, signal, steps } = reading
  const { projects, groups, next, headers, tookMs } = page
  const counted = {
    pages: cursor.pages + 1,
    projects: cursor.projects + projects.length,
    groups: cursor.groups + groups.length,
  }
  // Between two pages an item may go from the second to the first, and be seen on neither.
  const isExact = cursor.is_exact && !(isByPage(step) && next !== undefined)
  // By id, the list may end with an empty page: the position is the id before that.
  const greatestId = Math.max(Number(projects.at(-1)?.id ?? 0), isByPage(step) ? 0 : cursor.position)
  const onward =
    next === undefined
      ? await enter(deps.db, reading, stepAfter(steps, step), greatestId)
      : { position: next }
  const isOurs = await advance(
    deps,
    reading,
    { ...counted, is_exact: isExact, ...onward },
    async (transaction) => {
      await saveProjects(transaction, connection, row.run, projects)
      await saveGroups(transaction, connection, row.run, groups)
    },
  )
  if (!isOurs) return { kind: 'lost' }
  reading.places = page.places
  reading.idsBefore = next === undefined ? undefined : page.ids
  if (!cursor.step) return undefined
  const now = new Date(deps.clock())
  const pauseMs = pauseAfterPage(headers, tookMs, now)
  if (pauseMs > LONGEST_PAUSE_MS) return { kind: 'put_off', until: new Date(now.getTime() + pauseMs) }
  await sleep(pauseMs, undefined, { signal }).catch(() => undefined)
  return undefined
}

/** What follows when GitLab gave no page. */
const cope = async (
  deps: Deps,
  reading: Reading,
  step: ReadStep,
  asked: Exclude<Asked, { kind: 'page' }>,
): Promise<Stop | undefined> => {
  const { cursor, steps } = reading
  switch (asked.kind) {
    case 'refused':
      return asked
    case 'not_shown': {
      // The place is gone, or was never shown. The others are read; what was there is marked once two runs do not see it.
      const onward = await enter(deps.db, reading, stepAfter(steps, step))
      const isOurs = await advance(deps, reading, { ...onward, is_exact: false })
      return isOurs ? undefined : { kind: 'lost' }
    }
    case 'too_large': {
      const smaller = PAGE_SIZES.find((size) => size < cursor.perPage)
      if (smaller === undefined || step.kind === 'project') {
        const detail = 'GitLab answered with more than one project would have.'
        return { kind: 'refused', refusal: { code: 'gitlab_unavailable', detail } }
      }
      cursor.perPage = smaller
      return undefined
    }
    case 'too_deep': {
      const onward =
        step.kind === 'group' ? ({ kind: 'membership' } as const) : stepAfter(steps, { kind: 'mark-groups' })
      const isOurs = await advance(deps, reading, {
        ...(await enter(deps.db, reading, onward)),
        is_exact: false,
      })
      return isOurs ? undefined : { kind: 'lost' }
    }
  }
}

/** Marks what this run did not see; of a list that pages may have hidden something of, what the run before did not see either. */
const mark = async (deps: Deps, reading: Reading, step: Step): Promise<boolean> => {
  const { cursor, connection, row, steps } = reading
  const lastSeen = cursor.is_exact ? row.run : row.run - 1
  for (let marked = MARKED_AT_ONCE; marked === MARKED_AT_ONCE; ) {
    const options = { lastSeen, now: new Date(deps.clock()) }
    const isOurs = await advance(deps, reading, {}, async (transaction) => {
      if (step.kind === 'mark-projects')
        marked = await markMissingProjects(transaction, connection.id, options)
      else {
        await markMissingGroups(transaction, connection.id, options)
        marked = 0
      }
    })
    if (!isOurs) return false
  }
  return advance(deps, reading, await enter(deps.db, reading, stepAfter(steps, step)))
}
