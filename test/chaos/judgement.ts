import type { RequestEntry } from '../../simulator/requests.ts'
import { CLAIM_SECONDS } from '../../src/token-lifecycle/refresh-decision.ts'
import type { Gap } from './database.ts'
import type { Ending, RefreshNote, Start } from './journal.ts'
import type { ConnectionState } from './states.ts'

/** Holds what GitLab saw against what the brokers said. Pure: no I/O. */

export type Evidence = {
  /** Of GitLab: refreshes and replays of spent refresh tokens, in order. */
  events: { at: number; kind: string; tokenKind: string; grantId: string; generation: number }[]
  /** The requests that brought forth a pair. */
  issuing: RequestEntry[]
  notes: RefreshNote[]
  endings: Ending[]
  starts: Start[]
  /** Of the time whose commits the database lost when it went back. */
  gaps: Gap[]
  /** At the end. */
  finals: ConnectionState[]
}

export type Loss = {
  connectionId: string
  why: string
  marked: 'needs_reauthorization' | 'in doubt'
  /** How long the only copy of the new token was in the process that died with it. */
  heldMs: number | undefined
}

export type Verdict = {
  refreshes: number
  replays: Map<string, number>
  losses: Loss[]
  violations: string[]
}

/** The answers that are held back, and a moment: nobody may have the only copy of a token for longer. */
const LONGEST_HELD_MS = 5_000
/** How far the log of a busy broker is behind: it is written beside the work. */
const LOST_LINES_MS = 1_500
const KILLED = 'the process was killed before it saved the answer'
const KEPT = 'the answer waited for the database'
/** A file for each saved token is written beside the work (token-lifecycle/spool.ts); on a busy machine that takes a moment. */
const LONGEST_UNRETAINED_MS = 3_000
const UNRETAINED = 'the database went back, and the process was killed before the token was on the disk'
const AWAY = 'the database went back, and the broker that had the successor was away'
const WENT_BACK = 'database_went_back'
const TOO_LATE = 'GitLab acted after something in between had answered for it'
const LOST_CAUSE = 'refresh_answer_lost'
const LATE = 'GitLab got to it after the successor was saved'
/** Who asks GitLab about the token between giving up and GitLab's acting hears that it lives, which it does: what the
 * broker can know of the loss is the refusal that comes later. */
const CAUSES_TOO_LATE = [LOST_CAUSE, 'refresh_token_refused']
/** A broker that serves notices within five seconds that the database went back, and offers what it has. */
const OFFERED_MS = 5_000
/** For so long the others wait for a broker that is away. */
const WAITED_FOR_MS = 15_000
/** Between the moment in which a restore is done and the one in which the harness writes that down. */
const RESTORE_SLACK_MS = 1_000
/** Between what GitLab does and what a broker writes down. */
const CLOCK_SLACK_MS = 50

const key = (name: string, count: number): string => `${name} ${count}`

/** A replica keeps its disk from process to process. */
const nodeOf = (incarnation: string): string => incarnation.split('.', 1)[0]!

const timeOf = (event: { at: number } | undefined): string =>
  event === undefined ? 'never' : new Date(event.at).toISOString()

const groupBy = <Item>(items: Item[], nameOf: (item: Item) => string): Map<string, Item[]> => {
  const groups = new Map<string, Item[]>()
  for (const item of items) {
    const name = nameOf(item)
    const group = groups.get(name)
    if (group) group.push(item)
    else groups.set(name, [item])
  }
  return groups
}

/**
 * Whether a lease was given in a time that the database lost, and broken when it had lost it: what ends a leased token before
 * that is a fault.
 * @param replacedAt when GitLab issued the successor of the leased token; undefined = it did not.
 */
export const isForgottenLease = (givenAt: number, replacedAt: number | undefined, gaps: Gap[]): boolean =>
  gaps.some(
    ({ from, to }) =>
      givenAt >= from && givenAt <= to && replacedAt !== undefined && replacedAt >= to - RESTORE_SLACK_MS,
  )

/**
 * Token version n of a connection is generation n at GitLab: each side counts up by one with each refresh.
 */
export const judge = ({ events, issuing, notes, endings, starts, gaps, finals }: Evidence): Verdict => {
  const violations: string[] = []
  const refreshed = events.filter(({ kind, tokenKind }) => kind === 'refreshed' && tokenKind === 'oauth')
  const byPair = groupBy(refreshed, ({ grantId, generation }) => key(grantId, generation))
  for (const [pair, found] of byPair) {
    if (found.length > 1) violations.push(`${pair} was issued ${found.length} times`)
  }
  const faultOf = new Map(
    issuing.map(({ issued, fault }) => [key(issued!.grantId, issued!.generation), fault]),
  )
  const notesOf = groupBy(notes, ({ connectionId, tokenVersion }) => key(connectionId, tokenVersion))
  const endingOf = new Map(endings.map((ending) => [ending.incarnation, ending]))

  const wasForgotten = (at: number, by: number): boolean =>
    gaps.some(({ from, to }) => at >= from - CLOCK_SLACK_MS && at <= to && by >= to)

  /** Whether a node ended after it had saved, and was not there when the database had gone back. */
  const wasAway = (node: string, savedAt: number, by: number): boolean =>
    endings.some(({ incarnation, at }) => {
      if (nodeOf(incarnation) !== node || at < savedAt || at > by) return false
      const next = starts.find((start) => nodeOf(start.incarnation) === node && start.at > at)
      const isThere = next === undefined ? Number.POSITIVE_INFINITY : next.at + OFFERED_MS
      return gaps.some(({ to }) => savedAt <= to && to <= by && at <= to + WAITED_FOR_MS && isThere >= to)
    })

  /** Whether a refresh may follow another of the same version: the claim of the first had ended by then. */
  const mayFollow = (first: RefreshNote, second: RefreshNote, told: RefreshNote[]): boolean => {
    const isBetween = (at: number) => at >= first.at && at <= second.at
    return (
      second.at - first.at >= CLAIM_SECONDS * 1000 - CLOCK_SLACK_MS ||
      endings.some(({ incarnation, at }) => incarnation === first.incarnation && isBetween(at)) ||
      told.some(({ what, at }) => what === 'failed' && isBetween(at)) ||
      // The database lost the claim.
      (wasForgotten(first.at, second.at) && first.at < second.at)
    )
  }

  type Reason = { why: string; heldMs: number | undefined }
  /** Why the successor of a version did not arrive by a time; undefined = there is no good reason. */
  const whyUnanswered = (state: ConnectionState, version: number, by: number): Reason | undefined => {
    const told = notesOf.get(key(state.id, version)) ?? []
    const saved = told.find(({ what, at }) => what === 'saved' && at < by - CLOCK_SLACK_MS)
    if (saved !== undefined) {
      const savedAt = saved.at
      const ending = endingOf.get(saved.incarnation)
      const livedMs = ending?.how === 'killed' ? ending.at - savedAt : Number.POSITIVE_INFINITY
      if (wasForgotten(savedAt, by) && livedMs <= LONGEST_UNRETAINED_MS)
        return { why: UNRETAINED, heldMs: Math.max(0, livedMs) }
      if (wasForgotten(savedAt, by) && wasAway(nodeOf(saved.incarnation), savedAt, by))
        return { why: AWAY, heldMs: undefined }
      // One of them brought the successor. GitLab works on the other, whoever sent it, and however that ended.
      const sent = told.filter(({ what }) => what === 'sent').sort((one, other) => one.at - other.at)
      const wasLate =
        sent.length > 1 &&
        sent.every(
          (second, index) =>
            second.at < savedAt && (index === 0 || mayFollow(sent[index - 1]!, second, told)),
        )
      return wasLate ? { why: LATE, heldMs: undefined } : undefined
    }
    if (told.some(({ what }) => what === 'kept')) return { why: KEPT, heldMs: undefined }
    const committedAt = byPair.get(key(state.grantId, version + 1))?.[0]?.at ?? 0
    const sent = told.filter(({ what, at }) => what === 'sent' && at <= committedAt + CLOCK_SLACK_MS)
    // No request that waited for an answer brought the pair forth.
    if (sent.length > 0 && !faultOf.has(key(state.grantId, version + 1))) {
      return { why: TOO_LATE, heldMs: undefined }
    }
    if (faultOf.get(key(state.grantId, version + 1)) === 'cut-after') {
      return { why: 'the connection was cut after GitLab had acted', heldMs: undefined }
    }
    for (const { incarnation } of sent) {
      // GitLab may get to a request only when its sender is dead already.
      const ending = endingOf.get(incarnation)
      const heldMs =
        ending?.how === 'killed' ? Math.max(0, ending.at - committedAt) : Number.POSITIVE_INFINITY
      if (heldMs <= LONGEST_HELD_MS) {
        return { why: KILLED, heldMs }
      }
    }
    // The last lines of a killed process die with it, and the line about the sending may be among them.
    const killed = endings.find(
      ({ how, at }) => how === 'killed' && at >= committedAt && at - committedAt <= LOST_LINES_MS,
    )
    if (sent.length === 0 && killed) return { why: KILLED, heldMs: killed.at - committedAt }
    return undefined
  }

  const replays = new Map<string, number>()
  const stateOf = new Map(finals.map((state) => [state.grantId, state]))
  for (const event of events) {
    if (event.kind !== 'replay_of_spent_refresh_token') continue
    const state = stateOf.get(event.grantId)
    const why = state && whyUnanswered(state, event.generation, event.at)?.why
    if (why) replays.set(why, (replays.get(why) ?? 0) + 1)
    else {
      const at = new Date(event.at).toISOString()
      violations.push(`a spent refresh token was replayed at ${at}: ${state?.id} version ${event.generation}`)
    }
  }

  const losses: Loss[] = []
  const lastGeneration = new Map(refreshed.map(({ grantId, generation }) => [grantId, generation]))
  for (const state of finals) {
    const behind = (lastGeneration.get(state.grantId) ?? 1) - state.tokenVersion
    if (behind === 0) {
      if (state.status !== 'active') {
        violations.push(
          `${state.id} is ${state.status} (${state.statusReason}) although it has GitLab's last token`,
        )
      }
      continue
    }
    const reason =
      behind === 1 ? whyUnanswered(state, state.tokenVersion, Number.POSITIVE_INFINITY) : undefined
    // What was kept is on disk: nothing excuses its loss.
    if (!reason || reason.why === KEPT || reason.why === AWAY) {
      violations.push(
        `${state.id} was lost without a cause: version ${state.tokenVersion}, GitLab is ${behind} ahead since ${timeOf(
          byPair.get(key(state.grantId, state.tokenVersion + 1))?.[0],
        )}; ${JSON.stringify(notesOf.get(key(state.id, state.tokenVersion)) ?? [])}`,
      )
      continue
    }
    const marked = state.status === 'needs_reauthorization'
    const cause = marked ? state.statusReason : state.failureCode
    const lostAt = byPair.get(key(state.grantId, state.tokenVersion + 1))?.[0]?.at ?? 0
    const told = notesOf.get(key(state.id, state.tokenVersion)) ?? []
    const sentAt = told.flatMap(({ what, at }) => (what === 'sent' ? [at] : []))
    // What the row knew of the request went with the time since: the broker can only say that the database went back.
    const knownFrom = Math.min(lostAt, ...sentAt)
    // The first cause stays: GitLab may have refused the same token before it took it.
    const hadFailed = told.some(({ what, at }) => what === 'failed' && at < lostAt)
    const wentBackSince = gaps.some(({ to }) => to >= knownFrom)
    const causes: (string | null)[] = [
      ...(reason.why === TOO_LATE || hadFailed ? CAUSES_TOO_LATE : [LOST_CAUSE]),
      ...(wentBackSince ? [WENT_BACK] : []),
    ]
    if (!causes.includes(cause) || (!marked && state.unansweredSince === null)) {
      const evidence = JSON.stringify({ lostAt, told, gaps })
      violations.push(
        `${state.id} is lost because ${reason.why}, and says ${state.status}, ${cause}: ${evidence}`,
      )
    }
    losses.push({ connectionId: state.id, ...reason, marked: marked ? 'needs_reauthorization' : 'in doubt' })
  }
  return { refreshes: refreshed.length, replays, losses, violations }
}
