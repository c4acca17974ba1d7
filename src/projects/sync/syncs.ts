import { type Patience, startPatience } from '../../clock/patience.ts'
import { isDatabaseUnavailable } from '../../db/availability.ts'
import { beginSync } from './begin-sync.ts'
import { type DueSync, findDueSyncs, putOffHopeless } from './queries.ts'
import { runSync, type SyncDeps } from './run-sync.ts'

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

  /** @returns when it has begun. @param onTurnOver it has made way for others, and goes on later */
  const begin = ({ id, instance_id }: DueSync, onTurnOver = (): unknown => undefined): Promise<unknown> => {
    const begun = beginSync(deps, id)
    const ended = begun
      .then(async (sync) => {
        const end = sync && (await runSync({ ...deps, isAwaited }, sync, signal))
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

  /** One after the other as there is room, each once before any that made way goes on. */
  const beginDue = async (patience: Patience): Promise<void> => {
    const tried = new Set<string>()
    let turnsOver: string[] = []
    let due: DueSync[] = []
    while (!patience.isOver() && !signal.aborted) {
      let next = due.find((sync) => !tried.has(sync.id) && mayBegin(sync, BACKGROUND))
      if (!next && running.size < BACKGROUND.all) {
        due = await findDue(tried, fullInstances())
        next = due.find((sync) => mayBegin(sync, BACKGROUND))
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

  return {
    isOn,
    async runDue() {
      if (!isOn) return
      await putOffHopeless(db, new Date(clock()))
      await beginDue(startPatience(LONGEST_RUN_MS))
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
