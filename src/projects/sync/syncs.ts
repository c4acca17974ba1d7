import { type Patience, startPatience } from '../../clock/patience.ts'
import { isDatabaseUnavailable } from '../../db/availability.ts'
import { beginSync } from './begin-sync.ts'
import { type DueSync, findDueSyncs, putOffHopeless } from './queries.ts'
import { runSync, type SyncDeps, type SyncEnd } from './run-sync.ts'

/** The reading of projects in this process. */
export type Syncs = {
  /** false: whoever runs the broker does not want it. */
  isOn: boolean
  /** Reads the connections that are due, a few at once. Returns when they are read, or after a while. */
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
/** So often it is looked for what is due at other instances, while one has no room. */
const BETWEEN_LOOKS_MS = 1_000

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

type Reader = Pick<ReturnType<typeof createRunning>, 'running' | 'fullInstances' | 'allEnded'> & {
  signal: AbortSignal
  mayBegin(sync: DueSync, room: Room): boolean
  findDue(except: Iterable<string>, notOfInstances: string[]): Promise<DueSync[]>
  begin(sync: DueSync, onEnd: (end: SyncEnd) => void): Promise<unknown>
  isAway(instanceId: string): boolean
}

/**
 * One after the other as there is room, each once before any that made way goes on. When GitLab is away, the other
 * connections of the instance wait for the next run: each would cost statements, and learn nothing.
 */
const readDue = async (reader: Reader, patience: Patience): Promise<void> => {
  const { running, fullInstances, allEnded, signal, mayBegin, findDue, begin, isAway } = reader
  const tried = new Set<string>()
  const away = new Set<string>()
  let turnsOver: string[] = []
  let due: DueSync[] = []
  let lookedAt = 0
  const isLeft = (sync: DueSync): boolean => !tried.has(sync.id) && !away.has(sync.instance_id)
  const mayBeNext = (sync: DueSync): boolean => isLeft(sync) && mayBegin(sync, BACKGROUND)
  while (!patience.isOver() && !signal.aborted) {
    const hasLane = running.size < BACKGROUND.all
    let next = due.find(mayBeNext)
    if (!next && hasLane && (!due.some(isLeft) || performance.now() - lookedAt >= BETWEEN_LOOKS_MS)) {
      lookedAt = performance.now()
      const found = await findDue(tried, [...fullInstances(), ...away])
      due = [...due.filter(isLeft), ...found]
      next = due.find(mayBeNext)
    }
    if (next) {
      const { id, instance_id } = next
      tried.add(id)
      const onEnd = (end: SyncEnd) => {
        if (end === 'turn_over') turnsOver.push(id)
        if (end === 'failed' && isAway(instance_id)) away.add(instance_id)
      }
      begin(next, onEnd).catch(() => undefined)
    } else if (turnsOver.length > 0 && hasLane) {
      for (const id of turnsOver) tried.delete(id)
      turnsOver = []
      // What was not read yet comes first.
      due = []
    } else if (running.size > 0) {
      await patience.waitFor(Promise.race(allEnded()))
    } else return
  }
}

export const createSyncs = (deps: Omit<SyncDeps, 'isAwaited'> & { isOn: boolean }): Syncs => {
  const { db, clock, logger, isOn } = deps
  const { running, countOf, hasRoom, fullInstances, allEnded } = createRunning()
  const stopping = new AbortController()
  const { signal } = stopping

  const mayBegin = (sync: DueSync, room: Room): boolean => isOn && !signal.aborted && hasRoom(sync, room)
  const findDue = (except: Iterable<string>, notOfInstances: string[]): Promise<DueSync[]> =>
    findDueSyncs(db, new Date(clock()), {
      limit: MOST_AT_A_LOOK,
      except: [...except, ...running.keys()],
      notOfInstances,
    })

  /** Whether another that is due could be read in the place of this one. */
  const isAwaited = async (instanceId: string): Promise<boolean> => {
    if (running.size < BACKGROUND.all && countOf(instanceId) < BACKGROUND.ofInstance) return false
    const others = fullInstances().filter((id) => id !== instanceId)
    const [next] = await findDue([], others)
    return next !== undefined
  }

  /** @returns when it has begun */
  const begin = (
    { id, instance_id }: DueSync,
    onEnd: (end: SyncEnd) => void = () => undefined,
  ): Promise<unknown> => {
    const begun = beginSync(deps, id)
    const ended = begun
      .then(async (sync) => sync && onEnd(await runSync({ ...deps, isAwaited }, sync, signal)))
      .catch((error: unknown) => {
        const level = isDatabaseUnavailable(error) ? 'debug' : 'warn'
        logger[level]({ err: error, connection_id: id }, 'reading projects ended early')
      })
      .finally(() => running.delete(id))
    running.set(id, { instanceId: instance_id, ended })
    return begun
  }

  const isAway = (instanceId: string): boolean => deps.instanceClients.weatherOf(instanceId).turnsAllAway()
  const reader = { running, fullInstances, allEnded, signal, mayBegin, findDue, begin, isAway }

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
