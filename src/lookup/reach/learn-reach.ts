import { bulkhead } from 'cockatiel'
import { LRUCache } from 'lru-cache'
import type { Logger } from 'pino'
import type { Principal } from '../../callers/principal.ts'
import type { Clock } from '../../clock/clock.ts'
import { startPatience } from '../../clock/patience.ts'
import { coalesce } from '../../coalesce.ts'
import type { ProjectWord } from '../../gitlab/project-reach.ts'
import { isServable, type RankedCandidate } from '../url-match.ts'
import { type Answer, createQuestions, type QuestionDeps, type Told } from './ask-candidate.ts'
import { type Proof, saveProofs } from './queries.ts'
import type { KnownBudgets } from './rate-budgets.ts'

type Deps = Omit<QuestionDeps, 'patienceMs'> & { logger: Logger; patienceMs?: number }

/** Finds out from GitLab which connections reach a project, and remembers it. */
export type ReachLearner = {
  /** Whether nothing is to be learned about a project for a while. */
  isPaused(place: Place): boolean
  /**
   * Asks about the candidates for one URL, when the answer could change which of them wins.
   * @returns whether more is known now. false as well when GitLab takes too long: what it says later is remembered.
   */
  learn(principal: Principal, ranked: RankedCandidate[]): Promise<boolean>
  /** Asks about one of them, whatever is known: somebody says that GitLab refused it. */
  ask(principal: Principal, ranked: RankedCandidate[], connectionId: string): Promise<boolean>
  /** What somebody else has asked GitLab about one of them. */
  remember(
    ranked: RankedCandidate[],
    connectionId: string,
    answer: { word: ProjectWord; token: string; tokenVersion: number; isOpenToAll: boolean | undefined },
  ): Promise<void>
  budgets: KnownBudgets
}

/** A project, and whose connections are to reach it. */
type Place = { organization: string; instanceId: string; project: string }

/** More would cost GitLab more than they tell. */
const MOST_ASKED = 4
/** Projects that are asked about at once, and that wait for it. */
const AT_ONCE = 16
const WAITING = 1_000
/** A lookup waits this long; the question goes on. */
const PATIENCE_MS = 3_000
/** As long as no other is known to reach the project, a refusal of before is tried again: there may be such a project by now. */
const RETRY_SECONDS = 60
/** After an answer from which nothing followed: the repository is public, or the path is that of a group. */
const PAUSE_SECONDS = 600
/** After no answer: of a token that cannot be lent now, of a project, or of the whole instance when GitLab is slow or away. */
const SHORT_PAUSE_SECONDS = 30
const KEPT_PAUSES = 10_000
const KEPT_INSTANCES = 1_000

/**
 * Those about whom to ask as long as none that can be served is known to reach the project: rivals, and whoever would win
 * but for a refusal that is old. That nobody reaches a project proves no refusal: there may be none.
 */
const askedAbout = (ranked: RankedCandidate[], now: Date): RankedCandidate[] => {
  const [first] = ranked
  if (!first || first.project === '') return []
  const latest = now.getTime() - RETRY_SECONDS * 1000
  const isOld = ({ refused_at }: RankedCandidate) => (refused_at?.getTime() ?? 0) <= latest
  const refused = ranked.filter((row) => !row.eligible && isServable(row, now))
  if (!first.eligible) return refused.filter(isOld)
  const { length } = first.match_path
  const rivals = ranked.filter((row) => row.eligible && row.match_path.length === length)
  const better = refused.filter((row) => row.match_path.length >= length)
  if (first.reaches || rivals.length + better.length < 2) return []
  return [...rivals, ...better.filter(isOld)]
}

/** Until when not to ask again: about a project, a candidate or an instance. */
const createPauses = (clock: Clock) => {
  const pauses = new LRUCache<string, number>({ max: KEPT_PAUSES })
  return {
    pause: (name: string, seconds: number) => void pauses.set(name, clock() + seconds * 1000),
    isPaused: (name: string): boolean => (pauses.get(name) ?? 0) > clock(),
    end: (name: string) => void pauses.delete(name),
  }
}

/** No answer about one project says little of GitLab. After none about two, the whole instance is left alone. */
const createSilence = ({ pause, isPaused }: ReturnType<typeof createPauses>) => {
  const latest = new LRUCache<string, string>({ max: KEPT_INSTANCES })
  return (rows: RankedCandidate[]): void => {
    for (const row of rows) {
      const before = latest.get(row.instance_id)
      if (before !== undefined && before !== projectName(row) && isPaused(before))
        pause(row.instance_id, SHORT_PAUSE_SECONDS)
      latest.set(row.instance_id, projectName(row))
      pause(projectName(row), SHORT_PAUSE_SECONDS)
    }
  }
}

/** What is not to be asked again after an answer. */
const createPauseAfter =
  ({ pause }: ReturnType<typeof createPauses>, noteSilence: ReturnType<typeof createSilence>) =>
  (rows: RankedCandidate[], words: Answer[], { proofs, isOpenToAll }: Learned): void => {
    const isOutage = words.includes('unavailable') || (words.includes('opens') && isOpenToAll === undefined)
    if (isOutage) noteSilence(rows)
    const proven = new Set(
      proofs.filter(({ reaches }) => reaches !== null).map((proof) => proof.connectionId),
    )
    for (const [index, row] of rows.entries()) {
      if (words[index] === 'denied') pause(row.id, PAUSE_SECONDS)
      if (isOutage) continue
      if (isOpenToAll || words.includes('group')) pause(projectName(row), PAUSE_SECONDS)
      else if (!proven.has(row.id))
        pause(candidateName(row), words[index] === 'not_lent' ? SHORT_PAUSE_SECONDS : PAUSE_SECONDS)
    }
  }

export const createReachLearner = (deps: Deps): ReachLearner => {
  const { db, clock, budgets, logger, patienceMs = PATIENCE_MS } = deps
  const { askOne, isForAll } = createQuestions({ ...deps, patienceMs })
  const turns = bulkhead(AT_ONCE, WAITING)
  const pauses = createPauses(clock)
  const { pause, isPaused, end } = pauses
  const noteSilence = createSilence(pauses)
  const pauseAfter = createPauseAfter(pauses, noteSilence)

  type Question = { principal: Principal; rows: RankedCandidate[]; isKnownProject: boolean }

  const question = coalesce(
    ({ principal, rows, isKnownProject }: Question): Promise<boolean> =>
      turns.execute(async () => {
        const late = setTimeout(() => noteSilence(rows), patienceMs)
        try {
          const told = await Promise.all(rows.map((row) => askOne(principal, row)))
          const words = told.map(({ word }) => word)
          const opened = rows[words.indexOf('opens')]
          const isOpenToAll = opened ? await isForAll(opened) : undefined
          const proofs = toProofs(rows, told, { isOpenToAll, isKnownProject })
          await saveProofs(db, proofs, new Date(clock()))
          pauseAfter(rows, words, { proofs, isOpenToAll })
          return proofs.length > 0
        } finally {
          clearTimeout(late)
        }
      }),
    ({ rows }) => rows.map(candidateName).sort().join(),
  )

  /** A question never fails: without an answer the order is that of what is known. */
  const settle = async (asked: Question): Promise<boolean> => {
    const answer = question(asked).catch((error: unknown) => {
      logger.debug({ err: error }, 'it could not be learned which connection reaches a project')
      return false
    })
    return (await startPatience(patienceMs).waitFor(answer)) ?? false
  }

  return {
    budgets,
    isPaused: ({ organization, instanceId, project }) =>
      [instanceId, `${instanceId} ${project}`, `${organization} ${instanceId} ${project}`].some(isPaused),
    async learn(principal, ranked) {
      const rows = askedAbout(ranked, new Date(clock()))
        .filter((row) => ![row.instance_id, row.id, projectName(row), candidateName(row)].some(isPaused))
        .slice(0, MOST_ASKED)
      if (rows.length > 0) return settle({ principal, rows, isKnownProject: isKnownProject(ranked) })
      const [first] = ranked
      // Where there is no choice, nothing is open that another connection could not open.
      if (first && !first.reaches && ranked.length > 1) pause(orderName(first), SHORT_PAUSE_SECONDS)
      return false
    },
    async ask(principal, ranked, connectionId) {
      const rows = ranked.filter(({ id, project }) => id === connectionId && project !== '')
      rows.map(orderName).forEach(end)
      return rows.length > 0 && settle({ principal, rows, isKnownProject: isKnownProject(ranked) })
    },
    async remember(ranked, connectionId, { word, token, tokenVersion, isOpenToAll }) {
      const rows = ranked.filter(({ id, project }) => id === connectionId && project !== '')
      rows.map(orderName).forEach(end)
      for (const { id, instance_id } of rows) budgets.note({ id, instanceId: instance_id }, token)
      const known = { isOpenToAll, isKnownProject: isKnownProject(ranked) }
      await saveProofs(db, toProofs(rows, [{ word, tokenVersion }], known), new Date(clock()))
    },
  }
}

type Learned = { proofs: Proof[]; isOpenToAll: boolean | undefined }

const projectName = ({ instance_id, project }: RankedCandidate): string => `${instance_id} ${project}`
/** Of the question in which order an organization's connections reach a project. */
const orderName = (row: RankedCandidate): string => `${row.organization} ${projectName(row)}`
const candidateName = ({ id, project }: RankedCandidate): string => `${id} ${project}`

const isKnownProject = (ranked: RankedCandidate[]): boolean => ranked.some(({ reaches }) => reaches)

/** What was proven. @param isKnownProject the path is that of a project, and not of a group */
const toProofs = (
  rows: RankedCandidate[],
  told: Told[],
  { isOpenToAll, isKnownProject }: { isOpenToAll: boolean | undefined; isKnownProject: boolean },
): Proof[] => {
  const isReached = (word: Answer | undefined) =>
    word === 'reaches' || (word === 'opens' && isOpenToAll === false)
  const isProject = isKnownProject || told.some(({ word }) => isReached(word))
  return rows.flatMap(({ id: connectionId, project, refused_at }, index): Proof[] => {
    const { word, tokenVersion } = told[index] ?? {}
    const proof = { connectionId, project, tokenVersion }
    if (isReached(word)) return [{ ...proof, reaches: true }]
    if (refused_at && (word === 'group' || word === 'opens')) return [{ ...proof, reaches: null }]
    const isRefused = word === 'forbidden' || word === 'absent' || (word === 'not_found' && isProject)
    return isRefused ? [{ ...proof, reaches: false }] : []
  })
}
