import { type Patience, startPatience } from '../../clock/patience.ts'
import { isDatabaseUnavailable } from '../../db/availability.ts'
import type { Weather } from '../../gitlab/weather.ts'
import { beginSync } from './begin-sync.ts'
import { type DueSync, findDueSyncs, putOffHopeless } from './queries.ts'
import { runSync, type SyncDeps, type SyncEnd } from './run-sync.ts'

/** The reading of projects in this process. */
export type Syncs = {
  /** false: whoever runs the broker does not want it. */
  isOn: boolean
  /**
   * Reads the connections that are due, a few at once. Returns when they are read, or after a while; those of a GitLab that
   * is away wait for the next call.
   */
  runDue(): Promise<void>
  /** Begins at once where there is room; otherwise a later runDue does. Returns when the reading has begun. */
  start(connection: { id: string; instance_id: string }): Promise<void>
  /** Stops after the page that is being read; where it was is in the database. */
  stop(): Promise<void>
}

/** How many are read at once, and how many of these of one GitLab: a slow one leaves room for the others. */
type Room = { all: number; ofInstance: number }
const BACKGROUND: Room = { all: 4, ofInstance: 3 }
/** As many more for people who ask. */
const FOR_PEOPLE: Room = { all: 8, ofInstance: 6 }
const MOST_AT_A_LOOK = 200
/** Shorter than the time between two runs. */
const LONGEST_RUN_MS = 50_000
/** A GitLab is away after so many failed readings in a row: each costs statements, and says the same. */
const MOST_FAILURES = 10

/** What is being read in this process, by connection. */
const createRunning = () => {
  const running = new Map<string, { instanceId: string; ended: Promise<void> }>()
  const countOf = (instanceId: string): number =>
    [...running.values()].filter((other) => other.instanceId === instanceId).length
  return {
    running,
    countOf,
    hasRoom: ({ id, instance_id }: DueSync, { all, ofInstance }: Room): boolean =>
      !running.has(id) && running.size < all && countOf(instance_id) < ofInstance,
    fullInstances: (): string[] => {
      const ids = new Set([...running.values()].map(({ instanceId }) => instanceId))
      return [...ids].filter((id) => countOf(id) >= BACKGROUND.ofInstance)
    },
    allEnded: () => [...running.values()].map(({ ended }) => ended),
  }
}

/** Which instances are away, by the readings of a run; or have paused every call, by any call of this process. */
const createAbsences = (weatherOf: (instanceId: string) => Weather) => {
  const failures = new Map<string, number>()
  const isAway = (id: string): boolean => (failures.get(id) ?? 0) >= MOST_FAILURES || weatherOf(id).isPaused()
  return {
    isAway,
    instances: (): string[] => [...failures.keys()].filter(isAway),
    see(due: DueSync[]): void {
      for (const { instance_id: id } of due) failures.set(id, failures.get(id) ?? 0)
    },
    note({ instance_id: id }: DueSync, end: SyncEnd): void {
      failures.set(id, end === 'failed' ? (failures.get(id) ?? 0) + 1 : 0)
    },
    /** A run begins. */
    tryAgain(): void {
      for (const id of failures.keys()) failures.set(id, 0)
    },
  }
}

type Absences = ReturnType<typeof createAbsences>
type Reader = Pick<ReturnType<typeof createRunning>, 'running' | 'fullInstances' | 'allEnded'> & {
  absences: Pick<Absences, 'isAway' | 'tryAgain'>
  signal: AbortSignal
  mayBegin(sync: DueSync, room: Room): boolean
  findDue(except: Iterable<string>, notOfInstances: string[]): Promise<DueSync[]>
  begin(sync: DueSync, onTurnOver: () => void): Promise<unknown>
}

/** Connections are read as there is room, each once before any that made way goes on. */
const readDue = async (
  { running, fullInstances, allEnded, absences, signal, mayBegin, findDue, begin }: Reader,
  patience: Patience,
): Promise<void> => {
  const tried = new Set<string>()
  let turnsOver: string[] = []
  let due: DueSync[] = []
  const mayBeNext = (sync: DueSync): boolean =>
    !tried.has(sync.id) && !absences.isAway(sync.instance_id) && mayBegin(sync, BACKGROUND)
  absences.tryAgain()
  while (!patience.isOver() && !signal.aborted) {
    let next = due.find(mayBeNext)
    if (!next && running.size < BACKGROUND.all) {
      due = await findDue(tried, fullInstances())
      next = due.find(mayBeNext)
    }
    if (next) {
      const { id } = next
      tried.add(id)
      begin(next, () => turnsOver.push(id)).catch(() => undefined)
    } else if (turnsOver.length > 0 && running.size < BACKGROUND.all) {
      for (const id of turnsOver) tried.delete(id)
      turnsOver = []
    } else if (running.size > 0) {
      await patience.waitFor(Promise.race(allEnded()))
    } else return
  }
}

export const createSyncs = (deps: Omit<SyncDeps, 'isAwaited'> & { isOn: boolean }): Syncs => {
  const { db, clock, logger, isOn } = deps
  const { running, countOf, hasRoom, fullInstances, allEnded } = createRunning()
  const absences = createAbsences(deps.instanceClients.weatherOf)
  const stopping = new AbortController()
  const { signal } = stopping

  const mayBegin = (sync: DueSync, room: Room): boolean => isOn && !signal.aborted && hasRoom(sync, room)
  const findDue = async (except: Iterable<string>, notOfInstances: string[]): Promise<DueSync[]> => {
    const due = await findDueSyncs(db, new Date(clock()), {
      limit: MOST_AT_A_LOOK,
      except: [...except, ...running.keys()],
      notOfInstances: [...notOfInstances, ...absences.instances()],
    })
    absences.see(due)
    return due
  }

  /** Whether another that is due could be read in the place of this one. */
  const isAwaited = async (instanceId: string): Promise<boolean> => {
    if (running.size < BACKGROUND.all && countOf(instanceId) < BACKGROUND.ofInstance) return false
    const others = fullInstances().filter((id) => id !== instanceId)
    const [next] = await findDue([], others)
    return next !== undefined
  }

  /** @returns when it has begun. @param onTurnOver it has made way for others, and goes on later */
  const begin = (due: DueSync, onTurnOver = (): unknown => undefined): Promise<unknown> => {
    const { id, instance_id } = due
    const begun = beginSync(deps, id)
    const ended = begun
      .then(async (sync) => {
        if (!sync) return
        const end = await runSync({ ...deps, isAwaited }, sync, signal)
        absences.note(due, end)
        if (end === 'turn_over') onTurnOver()
      })
      .catch((error: unknown) => {
        const level = isDatabaseUnavailable(error) ? 'debug' : 'warn'
        logger[level]({ err: error, connection_id: id }, 'reading projects ended early')
      })
      .finally(() => running.delete(id))
    running.set(id, { instanceId: instance_id, ended })
    return begun
  }

  const reader = { running, fullInstances, allEnded, absences, signal, mayBegin, findDue, begin }

  return {
    isOn,
    async runDue() {
      if (!isOn) return
      await putOffHopeless(db, new Date(clock()))
      await readDue(reader, startPatience(LONGEST_RUN_MS))
    },
    async start(connection) {
      if (mayBegin(connection, FOR_PEOPLE)) await begin(connection)
    },
    async stop() {
      stopping.abort()
      await Promise.all(allEnded())
    },
  }
}
