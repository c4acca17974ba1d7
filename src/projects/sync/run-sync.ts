import type { Logger } from 'pino'
import { addSeconds } from '../../clock/clock.ts'
import { isDatabaseUnavailable } from '../../db/availability.ts'
import { Problem } from '../../errors/problem.ts'
import type { GitLabAccess } from '../../instances/gitlab-access.ts'
import { findInstance } from '../../instances/queries.ts'
import type { Borrower } from '../../leases/borrowed/borrow.ts'
import { wasLeasedSince } from '../../leases/borrowed/queries.ts'
import type { LeasedToken } from '../../leases/lease-token.ts'
import { followRenames } from '../../places/follow-renames.ts'
import { findPlaces } from '../../places/queries.ts'
import type { Forecast } from '../../weather/forecast.ts'
import { withinBudget } from '../../weather/within-budget.ts'
import { type Begun, notPermitted } from './begin-sync.ts'
import { changeSync, countReached, finishSync, RELEASED, type SyncChanges } from './queries.ts'
import { MOST_PAGES, type Reading, readLists, type Stop } from './read-lists.ts'
import { nameOf, PAGE_SIZES, reachingOf, stepNamed, stepsOf } from './steps.ts'
import { IN_USE_SECONDS, nextRunAt, retryAt } from './timing.ts'

export type SyncDeps = Pick<GitLabAccess, 'db' | 'clock' | 'instanceClients'> & {
  borrower: Borrower
  forecast: Pick<Forecast, 'budget'>
  logger: Logger
  /** Whether another connection that is due could be read instead of one of this instance. */
  isAwaited(instanceId: string): Promise<boolean>
  /** A turn, after which a run makes way for others; TURN_MS when left out. */
  syncTurnMs?: number | undefined
}

const PURPOSE = 'sync'
/** So long a run reads with one lease of 300 s. Then others have their turn. */
const TURN_MS = 120_000
/** So many refusals of three minutes are left to the reading of projects: lookups and people need the budget more. */
const ROOM = 30
/** A run that goes on looks at the names again after this time. */
const BETWEEN_LOOKS_SECONDS = 300
/** A token that GitLab refused is replaced this often in one go. */
const MOST_REJECTIONS = 2
const DEAD = new Set(['token_unknown', 'token_expired', 'token_revoked'])

type Failure = { kind: 'failed'; code: string; detail: string; retryAfterSeconds?: number | undefined }
type End = Exclude<Stop, { kind: 'lease_over' | 'refused' }> | Failure | NotPermitted | { kind: 'turn_over' }
type NotPermitted = { kind: 'not_permitted'; tokenVersion: number; detail: string }
export type SyncEnd = End['kind']

const failureOf = (error: unknown): Failure => {
  if (!(error instanceof Problem)) throw error
  const { code, message, extras } = error
  // A database that is away cannot be told of it.
  if (code === 'database_unavailable') throw error
  return { kind: 'failed', code, detail: message, retryAfterSeconds: extras.retryAfterSeconds }
}

const UNEXPECTED: Failure = {
  kind: 'failed',
  code: 'internal_error',
  detail: 'Reading the projects ended unexpectedly. The log says why.',
}

/** Reads what the connection reaches, to the end or until something stops it, and writes down how that went. */
export const runSync = async (deps: SyncDeps, begun: Begun, signal: AbortSignal): Promise<SyncEnd> => {
  const end = await read(deps, begun, signal).catch(async (error: unknown) => {
    if (!isDatabaseUnavailable(error)) await writeDown(deps, begun, UNEXPECTED)
    throw error
  })
  await writeDown(deps, begun, end)
  return end.kind
}

const read = async (deps: SyncDeps, begun: Begun, signal: AbortSignal): Promise<End> => {
  const reading = await prepare(deps, begun, signal)
  if (!reading) return { kind: 'stopped' }
  let rejections = 0
  let isFirst = true
  for (;;) {
    let leased: LeasedToken
    try {
      leased = await deps.borrower.borrow(begun.connection.id, { purpose: PURPOSE })
    } catch (error) {
      return failureOf(error)
    }
    let stop: Stop
    try {
      if (isFirst) await lookAround(deps, reading, leased)
      isFirst = false
      stop = await readLists(deps, reading, leased, deps.syncTurnMs ?? TURN_MS)
      if (stop.kind === 'refused' && DEAD.has(stop.refusal.code) && rejections < MOST_REJECTIONS) {
        rejections += 1
        await deps.borrower.reject(leased.row.lease_id)
        continue
      }
    } catch (error) {
      return failureOf(error)
    } finally {
      await deps.borrower.giveBack(leased.row.lease_id)
    }
    if (stop.kind !== 'lease_over') return toEnd(stop, leased)
    if (await deps.isAwaited(begun.connection.instance_id)) return { kind: 'turn_over' }
  }
}

const toEnd = (stop: Exclude<Stop, { kind: 'lease_over' }>, { row }: LeasedToken): End => {
  if (stop.kind !== 'refused') return stop
  const { code, detail, retryAfterSeconds } = stop.refusal
  return code === 'missing_scopes'
    ? { kind: 'not_permitted', tokenVersion: row.token_version, detail }
    : { kind: 'failed', code, detail, retryAfterSeconds }
}

/** undefined = the instance is gone, and the connection with it. */
const prepare = async (
  { db, instanceClients, forecast }: SyncDeps,
  begun: Begun,
  signal: AbortSignal,
): Promise<Reading | undefined> => {
  const { connection, row } = begun
  const instance = await findInstance(db, connection.instance_id)
  if (!instance) return undefined
  const client = withinBudget(instanceClients.for(instance), instance.id, forecast.budget, ROOM)
  const places = (await findPlaces(db, [connection.id])).get(connection.id) ?? []
  const steps = stepsOf(reachingOf(connection, places), row.kind)
  const { is_exact, pages, projects, groups } = row
  const cursor = {
    is_exact,
    pages,
    projects,
    groups,
    step: stepNamed(steps, row.step) ?? steps[0],
    position: Number(row.position),
    perPage: PAGE_SIZES[0],
  }
  return { ...begun, client, places, steps, cursor, signal }
}

/** A run begins, and goes on, with the places as GitLab calls them now. */
const lookAround = async (
  { db, clock }: SyncDeps,
  reading: Reading,
  { row: { scopes, token_version: tokenVersion }, token }: LeasedToken,
): Promise<void> => {
  const { connection, client, row, cursor } = reading
  const now = new Date(clock())
  const looked = { row: connection, token, tokenVersion, scopes, now }
  await followRenames(db, client, looked, reading.isNew ? 0 : BETWEEN_LOOKS_SECONDS)
  const places = (await findPlaces(db, [connection.id])).get(connection.id) ?? []
  const steps = stepsOf(reachingOf(connection, places), row.kind)
  Object.assign(reading, { places, steps })
  const step = reading.isNew || !cursor.step ? undefined : stepNamed(steps, nameOf(cursor.step))
  if (step) return
  cursor.step = steps[0]
  cursor.position = 0
}

const writeDown = async (deps: SyncDeps, { claim, row, connection }: Begun, end: End): Promise<void> => {
  const { db, clock, logger } = deps
  const now = new Date(clock())
  const about = { connection_id: connection.id, run: row.kind }
  const change = (changes: SyncChanges) => changeSync(db, claim, { ...RELEASED, ...changes })
  switch (end.kind) {
    case 'lost':
      return
    case 'stopped':
    case 'turn_over':
      await change({ state: 'waiting', due_at: now })
      return
    case 'put_off':
      await change({ state: 'waiting', due_at: end.until })
      return
    case 'endless': {
      const code = 'gitlab_unavailable'
      const detail = `GitLab's lists do not end: ${MOST_PAGES} pages were read. What they do not show is not marked.`
      logger.warn({ ...about, code }, detail)
      // From the beginning the next time.
      const ended = { step: null, position: 0, finished_at: now, due_at: nextRunAt(now, false) }
      await change({ ...ended, state: 'waiting', error_code: code, error_detail: detail })
      return
    }
    case 'not_permitted':
      await changeSync(db, claim, notPermitted(end.tokenVersion, end.detail, now))
      return
    case 'failed': {
      const { code, detail, retryAfterSeconds } = end
      logger.warn({ ...about, code }, 'the projects of a connection are not read yet')
      // The row counts failures since the last page.
      await change({
        state: 'waiting',
        error_code: code,
        error_detail: detail,
        failures: row.failures + 1,
        due_at: retryAt(now, row.failures + 1, retryAfterSeconds),
      })
      return
    }
    case 'read': {
      const reached = await countReached(db, connection.id)
      const isInUse = await wasLeasedSince(db, connection.id, addSeconds(now, -IN_USE_SECONDS))
      const changes = {
        reached_projects: reached.projects,
        reached_groups: reached.groups,
        synced_to: row.started_at,
        ...(row.kind === 'full' ? { full_synced_to: row.started_at } : {}),
      }
      await finishSync(db, claim, { changes, now, dueAt: nextRunAt(now, isInUse) })
      logger.info({ ...about, ...reached }, 'the projects of a connection are read')
    }
  }
}
