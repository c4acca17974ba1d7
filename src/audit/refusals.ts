import type { Logger } from 'pino'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { Problem } from '../errors/problem.ts'
import { VaultError } from '../vault/vault.ts'
import { type AuditActor, type AuditEvent, recordAuditEvents } from './queries.ts'

/** Who was refused: of the same action, address, key and subject there is one event a minute. */
export type Refusal = Pick<AuditEvent, 'action' | 'subjectId' | 'outcome' | 'details'> &
  AuditActor & {
    /** What was asked for: method and pattern of the route, without anything of the request. */
    operation?: string | undefined
  }

/** Who sends a request, and what it asks for. */
export type RefusedRequest = Pick<Refusal, 'accessKeyId' | 'requestId' | 'address' | 'operation'>

export type Refusals = {
  /** Returns at once: whoever is refused does not wait for the record. */
  note(refusal: Refusal): void
  /** Notes an error that a request ended with, if it is a refusal or a ciphertext that does not open. */
  noteError(error: unknown, request: RefusedRequest): void
  /** For the vault: a ciphertext that does not open, in a request or in background work. */
  noteDamage(error: VaultError): void
  /** Writes down what was only counted so far. */
  close(): Promise<void>
}

const WINDOW_MS = 60_000
/** More addresses than this in one minute are counted together: a flood from everywhere fills no table. */
const MOST_WINDOWS = 200

type Window = { refusal: Refusal; count: number; since: number }

/**
 * Records refused acts without letting anybody flood the record: the first is written at once, those that follow within
 * a minute are counted, and written as one event when the minute is over.
 */
export const createRefusals = ({
  db,
  clock,
  logger,
}: {
  db: Database
  clock: Clock
  logger: Logger
}): Refusals => {
  const windows = new Map<string, Window>()
  /** Damage that the error of a request has told already, with more facts. */
  const told = new WeakSet<VaultError>()
  const writing = new Set<Promise<void>>()

  const write = (counted: { refusal: Refusal; count: number }[]): void => {
    const at = new Date(clock())
    const events = counted.map(({ refusal, count }): AuditEvent => {
      const { details, operation = null, ...facts } = refusal
      return { outcome: 'refused', ...facts, at, details: { ...details, operation, count } }
    })
    const written: Promise<void> = recordAuditEvents(db, events)
      .catch((error: unknown) => logger.warn({ err: error }, 'refused acts were not recorded'))
      .finally(() => writing.delete(written))
    writing.add(written)
  }

  const openWindow = (refusal: Refusal): Window => {
    const { action, address, accessKeyId, subjectId, details } = refusal
    const key = JSON.stringify([action, address, accessKeyId, subjectId, details])
    const known = windows.get(key)
    if (known) return known
    if (windows.size >= MOST_WINDOWS) {
      const rest = { action, details: { addresses: 'many' } }
      const restKey = JSON.stringify(rest)
      const window = windows.get(restKey) ?? { refusal: rest, count: 0, since: 0 }
      windows.set(restKey, window)
      return window
    }
    const window = { refusal, count: 0, since: 0 }
    windows.set(key, window)
    return window
  }

  const note = (refusal: Refusal): void => {
    const window = openWindow(refusal)
    const now = performance.now()
    if (window.since === 0) {
      window.since = now
      write([{ refusal: window.refusal, count: 1 }])
    } else {
      // The newest request is the one that the event names.
      const { requestId, operation } = refusal
      window.refusal = { ...window.refusal, requestId, operation }
      window.count += 1
    }
  }

  /** @param isOver which windows have ended. */
  const settle = (isOver: (window: Window) => boolean): void => {
    const counted: Window[] = []
    for (const [key, window] of windows) {
      if (!isOver(window)) continue
      if (window.count > 0) counted.push({ ...window })
      // Counted ones go on: what follows within the next minute joins them.
      if (window.count === 0) windows.delete(key)
      window.count = 0
      window.since = performance.now()
    }
    if (counted.length > 0) write(counted)
  }

  const timer = setInterval(() => {
    const now = performance.now()
    settle(({ since }) => now - since >= WINDOW_MS)
  }, WINDOW_MS / 6)
  timer.unref()

  const noteDamage = (error: VaultError, request: RefusedRequest = {}): void => {
    const { ownerId, use, version } = error.binding
    note({
      ...request,
      action: 'secret.tampered',
      outcome: 'failed',
      subjectId: ownerId,
      details: { use, version },
    })
  }

  return {
    note,
    noteError(error, request) {
      if (error instanceof VaultError) {
        told.add(error)
        noteDamage(error, request)
      } else if (error instanceof Problem && error.code === 'unauthorized') {
        note({ ...request, action: 'access.unauthorized' })
      } else if (error instanceof Problem && error.code === 'forbidden') {
        note({ ...request, action: 'access.forbidden' })
      }
    },
    noteDamage(error) {
      // A request ends with this error before the next turn of the event loop, and knows who asked.
      setImmediate(() => {
        if (!told.has(error)) noteDamage(error)
      })
    },
    async close() {
      clearInterval(timer)
      settle(() => true)
      await Promise.all(writing)
    },
  }
}
