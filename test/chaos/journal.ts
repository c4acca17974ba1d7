import { appendFileSync } from 'node:fs'

/** What the brokers said and how they ended: the witness for what GitLab saw. */

export type Ending = {
  incarnation: string
  at: number
  how: 'killed' | 'stopped' | 'could not start' | 'by itself'
  lastWords: string
}

export type Start = { incarnation: string; at: number }

/** A refresh of one token version, as a broker logged it. */
export type RefreshNote = {
  incarnation: string
  at: number
  connectionId: string
  tokenVersion: number
  /** `sent`: about to leave. `failed`: no token came of it. `saved`: the successor is in the database. `kept`: it waits in the spool. */
  what: 'sent' | 'failed' | 'saved' | 'kept'
}

export type Journal = {
  /** @param clockShiftMs by how much the clock was wrong that gave the line its time. */
  logged(incarnation: string, line: string, clockShiftMs: number): void
  ended(incarnation: string, ending: Omit<Ending, 'incarnation' | 'at'>): void
  /** What the harness itself does, for the log. */
  did(what: string): void
  endings: Ending[]
  /** When each process began to serve. */
  starts: Start[]
  notes: RefreshNote[]
  /** Unexpected errors: those that are answered with a 500, and those outside any request. */
  unexpected: string[]
  spoolPickUps: number
  keptInMemoryOnly: number
  withSecret: string[]
}

type Line = {
  level?: string
  time?: string
  msg?: string
  connection_id?: string
  token_version?: number
  outcome?: string
  err?: { message?: string; stack?: string; code?: string }
}

const SECRET_SHAPES = /\b[0-9a-f]{64}\b|glpat-[\w-]{20,}/g

/** What a message means for the version that is replaced; the saver names the version that it becomes. */
const NOTES: Record<string, { what: RefreshNote['what']; names: 'old' | 'new' }> = {
  'sending a refresh': { what: 'sent', names: 'old' },
  'refresh failed': { what: 'failed', names: 'old' },
  refreshed: { what: 'saved', names: 'old' },
  'the database did not take a token; it is in the spool and tried again': { what: 'kept', names: 'new' },
  'a kept token is saved': { what: 'saved', names: 'new' },
}

const HOUR_MS = 3_600_000

/** Clocks are set back by whole hours meanwhile; a line is read within minutes. */
const trueTime = (shown: number): number => shown + Math.round((Date.now() - shown) / HOUR_MS) * HOUR_MS

/** @param isSecret whether a text that looks like a token is one. */
export const createJournal = (isSecret: (text: string) => boolean, logFile: string | undefined): Journal => {
  const append = (who: string, text: string): void => {
    if (logFile !== undefined) appendFileSync(logFile, `${who} ${text}\n`)
  }
  const journal: Journal = {
    endings: [],
    starts: [],
    notes: [],
    unexpected: [],
    spoolPickUps: 0,
    keptInMemoryOnly: 0,
    withSecret: [],
    ended(incarnation, ending) {
      journal.endings.push({ incarnation, at: Date.now(), ...ending })
      journal.did(`${incarnation} ended: ${ending.how}. ${ending.lastWords}`)
    },
    did(what) {
      append('harness', `${new Date().toISOString()} ${what}`)
    },
    logged(incarnation, text, clockShiftMs) {
      append(incarnation, text)
      if (text.match(SECRET_SHAPES)?.some(isSecret)) journal.withSecret.push(text)
      let line: Line
      try {
        line = JSON.parse(text) as Line
      } catch {
        return
      }
      const { msg = '', connection_id: connectionId, token_version: version } = line
      const at = line.time === undefined ? Date.now() : trueTime(Date.parse(line.time) - clockShiftMs)
      if (msg === 'listening') journal.starts.push({ incarnation, at })
      const note = NOTES[msg]
      if (note && connectionId !== undefined && version !== undefined) {
        const tokenVersion = note.names === 'old' ? version : version - 1
        journal.notes.push({ incarnation, at, connectionId, tokenVersion, what: note.what })
      }
      if (msg === 'a token from the spool was taken up' && line.outcome !== 'kept') journal.spoolPickUps += 1
      if (msg.startsWith('neither the database nor the spool')) journal.keptInMemoryOnly += 1
      if (msg === 'unexpected error' || line.level === 'fatal') {
        journal.unexpected.push(`${incarnation} ${msg}: ${line.err?.code ?? ''} ${line.err?.stack ?? ''}`)
      }
    },
  }
  return journal
}
