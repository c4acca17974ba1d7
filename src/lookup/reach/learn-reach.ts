import { bulkhead } from 'cockatiel'
import { LRUCache } from 'lru-cache'
import type { Logger } from 'pino'
import type { Principal } from '../../callers/principal.ts'
import { startPatience } from '../../clock/patience.ts'
import { coalesce } from '../../coalesce.ts'
import { isServable, type RankedCandidate } from '../url-match.ts'
import { type Answer, createQuestions, type QuestionDeps } from './ask-candidate.ts'
import { type Proof, saveProofs } from './queries.ts'
import type { KnownBudgets } from './rate-budgets.ts'

type Deps = Omit<QuestionDeps, 'patienceMs'> & { logger: Logger; patienceMs?: number }

/** Finds out from GitLab which connections reach a project, and remembers it. */
export type ReachLearner = {
  /**
   * Asks about the candidates for one URL, when the answer could change which of them wins.
   * @returns whether more is known now. false as well when GitLab takes too long: what it says later is remembered.
   */
  learn(principal: Principal, ranked: RankedCandidate[]): Promise<boolean>
  /** Asks about one of them, whatever is known: somebody says that GitLab refused it. */
  ask(principal: Principal, ranked: RankedCandidate[], connectionId: string): Promise<boolean>
  remember(proofs: Proof[]): Promise<void>
  budgets: KnownBudgets
}

/** More would cost GitLab more than they tell. */
const MOST_ASKED = 4
/** Projects that are asked about at once, and that wait for it. */
const AT_ONCE = 8
const WAITING = 200
/** A lookup waits this long; the question goes on. */
const PATIENCE_MS = 3_000
/** When nobody else is left, a refusal of before is tried again: a person may have given access. */
const RETRY_SECONDS = 60
/** After an answer from which nothing followed: the repository is public, or the path is that of a group. */
const PAUSE_SECONDS = 600
/** After no answer: of a token that cannot be lent now, and of the whole instance when GitLab itself is slow or away. */
const SHORT_PAUSE_SECONDS = 30
const KEPT_PAUSES = 10_000

/** Those about whom to ask: rivals of whom none is known to reach the project, or those whose refusal is old. */
const askedAbout = (ranked: RankedCandidate[], now: Date): RankedCandidate[] => {
  const [first] = ranked
  if (!first || first.project === '') return []
  if (!first.eligible) {
    const latest = now.getTime() - RETRY_SECONDS * 1000
    return ranked.filter((row) => isServable(row, now) && (row.refused_at?.getTime() ?? 0) <= latest)
  }
  const rivals = ranked.filter(
    ({ eligible, match_path }) => eligible && match_path.length === first.match_path.length,
  )
  return first.reaches || rivals.length < 2 ? [] : rivals
}

export const createReachLearner = (deps: Deps): ReachLearner => {
  const { db, clock, budgets, logger, patienceMs = PATIENCE_MS } = deps
  const { askOne, isForAll } = createQuestions({ ...deps, patienceMs })
  const turns = bulkhead(AT_ONCE, WAITING)
  /** Until when not to ask again: about a project, or an instance. */
  const pauses = new LRUCache<string, number>({ max: KEPT_PAUSES })
  const pause = (name: string, seconds: number) => pauses.set(name, clock() + seconds * 1000)
  const isPaused = (name: string): boolean => (pauses.get(name) ?? 0) > clock()

  type Question = { principal: Principal; rows: RankedCandidate[]; isKnownProject: boolean; key: string }

  const question = coalesce(
    ({ principal, rows, isKnownProject, key }: Question): Promise<boolean> =>
      turns.execute(async () => {
        const words = await Promise.all(rows.map((row) => askOne(principal, row)))
        const opened = rows[words.indexOf('opens')]
        const isOpenToAll = opened ? await isForAll(opened) : undefined
        const proofs = toProofs(rows, words, { isOpenToAll, isKnownProject })
        await saveProofs(db, proofs, new Date(clock()))
        const isOutage = words.includes('unavailable') || (opened && isOpenToAll === undefined)
        if (isOutage) for (const { instance_id } of rows) pause(instance_id, SHORT_PAUSE_SECONDS)
        else if (proofs.filter(({ reaches }) => reaches !== null).length < rows.length)
          pause(key, words.includes('not_lent') ? SHORT_PAUSE_SECONDS : PAUSE_SECONDS)
        return proofs.length > 0
      }),
    ({ key }) => key,
  )

  /** A question never fails: without an answer the order is that of what is known. */
  const settle = async (asked: Question): Promise<boolean> => {
    const answer = question(asked).catch((error: unknown) => {
      logger.debug({ err: error }, 'it could not be learned which connection reaches a project')
      return false
    })
    const more = await startPatience(patienceMs).waitFor(answer)
    if (more === undefined) for (const { instance_id } of asked.rows) pause(instance_id, SHORT_PAUSE_SECONDS)
    return more ?? false
  }

  return {
    budgets,
    async learn(principal, ranked) {
      const rows = askedAbout(ranked, new Date(clock())).slice(0, MOST_ASKED)
      if (rows.length === 0) return false
      const ids = rows.map(({ id }) => id).sort()
      const key = `${rows[0]?.project} ${ids.join()}`
      if ([key, ...rows.map(({ instance_id }) => instance_id)].some(isPaused)) return false
      return settle({ principal, rows, isKnownProject: isKnownProject(ranked), key })
    },
    async ask(principal, ranked, connectionId) {
      const rows = ranked.filter(({ id, project }) => id === connectionId && project !== '')
      if (rows.length === 0) return false
      const key = `${rows[0]?.project} ${connectionId} again`
      return settle({ principal, rows, isKnownProject: isKnownProject(ranked), key })
    },
    remember: (proofs) => saveProofs(db, proofs, new Date(clock())),
  }
}

const isKnownProject = (ranked: RankedCandidate[]): boolean => ranked.some(({ reaches }) => reaches)

/** What was proven. @param isKnownProject the path is that of a project, and not of a group */
const toProofs = (
  rows: RankedCandidate[],
  words: Answer[],
  { isOpenToAll, isKnownProject }: { isOpenToAll: boolean | undefined; isKnownProject: boolean },
): Proof[] => {
  const isReached = (word: Answer | undefined) =>
    word === 'reaches' || (word === 'opens' && isOpenToAll === false)
  const isProject = isKnownProject || words.some(isReached)
  return rows.flatMap(({ id: connectionId, project, refused_at }, index): Proof[] => {
    const word = words[index]
    if (isReached(word)) return [{ connectionId, project, reaches: true }]
    if (refused_at && (word === 'group' || word === 'opens'))
      return [{ connectionId, project, reaches: null }]
    const isRefused = word === 'forbidden' || word === 'absent' || (word === 'not_found' && isProject)
    return isRefused ? [{ connectionId, project, reaches: false }] : []
  })
}
