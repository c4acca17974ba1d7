import type { ProblemCode } from '../errors/catalogue.ts'

export type CheckOutcome = 'ok' | 'warning' | 'failed' | 'unknown'
export type ReadinessCheck = { name: string; outcome: CheckOutcome; detail: string }

export type Readiness = {
  checks: ReadinessCheck[]
  /** Why requests should go elsewhere; undefined = ready. */
  refusal:
    | { code: Extract<ProblemCode, 'database_unavailable' | 'draining' | 'not_ready'>; detail: string }
    | undefined
}

/** Where a process is between its start and its end. Changed by start.ts alone. */
export type ProcessState = {
  /** What the start waits for; undefined = requests are served. */
  waitingFor: string | undefined
  keysOpen: boolean
  /** The end was announced: requests are served, and new ones should go elsewhere. */
  draining: boolean
}

export const createProcessState = (state: Partial<ProcessState> = {}): ProcessState => ({
  waitingFor: undefined,
  keysOpen: true,
  draining: false,
  ...state,
})

/** What is known of the database; `failure` = it was asked and cannot be used. */
export type DatabaseFacts =
  | { failure: string; isReadOnly: boolean }
  | { writeTrouble: string | undefined; schema: { usable: boolean; detail: string } }

/** What is known of the past of the database (token-lifecycle/history). */
export type HistoryFacts = {
  /** When the database went back to an earlier state; undefined = never. */
  wentBackAt: Date | undefined
  /** For how many seconds it is not known whether the database went back, when that takes too long. */
  unsettledSeconds?: number | undefined
  /** How many connections cannot be given back their token yet. */
  behind?: number
}

export type ReadinessFacts = {
  state: ProcessState
  database: DatabaseFacts
  /** What keeps the folder of the spool from being written. */
  spoolTrouble: string | undefined
  history: HistoryFacts
  /** How far the clock of this machine is ahead of that of the database; negative = behind. */
  clockAheadMs: number
}

/** Beyond this, someone should look at the clock of this machine. */
export const CLOCK_WARNING_MS = 2_000
/** Beyond this, something is wrong that may hurt elsewhere: logs, certificates, the answers of GitLab. */
export const CLOCK_LIMIT_MS = 10_000

const check = (name: string, trouble: string | undefined, fine: string): ReadinessCheck =>
  trouble === undefined ? { name, outcome: 'ok', detail: fine } : { name, outcome: 'failed', detail: trouble }

const notAsked = (name: string): ReadinessCheck => ({
  name,
  outcome: 'unknown',
  detail: 'The database does not say.',
})

const checkDatabase = (facts: DatabaseFacts): ReadinessCheck[] => {
  if (!('failure' in facts)) {
    const { writeTrouble, schema } = facts
    return [
      check('database', undefined, 'The database answers.'),
      check('writable', writeTrouble, 'The database takes changes.'),
      check('schema', schema.usable ? undefined : schema.detail, schema.detail),
    ]
  }
  return facts.isReadOnly
    ? [
        check('database', undefined, 'The database answers.'),
        check('writable', facts.failure, ''),
        notAsked('schema'),
      ]
    : [check('database', facts.failure, ''), notAsked('writable'), notAsked('schema')]
}

const checkClock = (aheadMs: number): ReadinessCheck => {
  const seconds = Math.round(Math.abs(aheadMs) / 100) / 10
  const detail = `The clock of this machine is ${seconds} s ${aheadMs < 0 ? 'behind' : 'ahead of'} that of the database.`
  const distance = Math.abs(aheadMs)
  const outcome = distance > CLOCK_LIMIT_MS ? 'failed' : distance > CLOCK_WARNING_MS ? 'warning' : 'ok'
  return { name: 'clock', outcome, detail }
}

const checkHistory = ({ wentBackAt, unsettledSeconds, behind = 0 }: HistoryFacts): ReadinessCheck => {
  const name = 'history'
  if (unsettledSeconds !== undefined) {
    const detail = `For ${unsettledSeconds} s it is not settled whether the database went back to an earlier state: no token is handed out.`
    return { name, outcome: 'failed', detail }
  }
  if (wentBackAt === undefined && behind === 0)
    return { name, outcome: 'ok', detail: 'The database never went back to an earlier state.' }
  const noticed = wentBackAt === undefined ? '' : `; noticed at ${wentBackAt.toISOString()}`
  const waiting = behind === 0 ? '' : ` Connections that still wait for their token: ${behind}.`
  const detail = `The database went back to an earlier state${noticed}.${waiting}`
  return { name, outcome: 'warning', detail }
}

const refusalOf = (checks: ReadinessCheck[], { draining }: ProcessState): Readiness['refusal'] => {
  const failed = checks.filter(({ outcome }) => outcome === 'failed' || outcome === 'unknown')
  const [first] = failed
  if (!first) return undefined
  if (draining) return { code: 'draining', detail: 'The process ends soon; requests are still served.' }
  const isDatabase = failed.some(({ name }) => name === 'database' || name === 'writable')
  const code = isDatabase ? 'database_unavailable' : 'not_ready'
  // The first reason explains the others: without a database the keys stay closed too.
  const telling = failed.find(({ name }) => name !== 'serving') ?? first
  return { code, detail: telling.detail }
}

/** Whether requests should come here. GitLab being away is no reason against it. */
export const judgeReadiness = ({
  state,
  database,
  spoolTrouble,
  history,
  clockAheadMs,
}: ReadinessFacts): Readiness => {
  const { draining, waitingFor, keysOpen } = state
  const checks = [
    check(
      'serving',
      draining
        ? 'The process ends soon.'
        : waitingFor === undefined
          ? undefined
          : `The start waits: ${waitingFor}`,
      'Requests are served.',
    ),
    ...checkDatabase(database),
    check('keys', keysOpen ? undefined : 'The data keys are not open yet.', 'The data keys are open.'),
    check('spool', spoolTrouble, 'The folder of the spool can be written.'),
    checkHistory(history),
    checkClock(clockAheadMs),
  ]
  return { checks, refusal: refusalOf(checks, state) }
}
