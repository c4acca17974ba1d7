import type { Logger } from 'pino'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { Problem } from '../errors/problem.ts'
import { VaultError } from '../vault/vault.ts'
import { type AuditEvent, recordAuditEvents } from './queries.ts'
import { createWindows, type Refusal } from './refusal-windows.ts'

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

  const windows = createWindows(write)
  const { note } = windows

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
      windows.close()
      await Promise.all(writing)
    },
  }
}
