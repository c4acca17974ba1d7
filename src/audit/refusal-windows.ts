import type { AuditActor, AuditEvent } from './queries.ts'

/** Who was refused: of the same action, address, key and subject there is one event a minute. */
export type Refusal = Pick<AuditEvent, 'action' | 'subjectId' | 'outcome' | 'details'> &
  AuditActor & {
    /** What was asked for: method and pattern of the route, without anything of the request. */
    operation?: string | undefined
  }

const WINDOW_MS = 60_000
/** More addresses than this in one minute are counted together: a flood from everywhere fills no table. */
const MOST_WINDOWS = 200

export type CountedRefusal = { refusal: Refusal; count: number }

type Window = CountedRefusal & { since: number }

/**
 * Counts what is refused again and again.
 * @param write gets the first at once, and how many followed when their minute is over.
 */
export const createWindows = (write: (counted: CountedRefusal[]) => void) => {
  const windows = new Map<string, Window>()

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

  return {
    note,
    /** Writes down what was only counted so far. */
    close() {
      clearInterval(timer)
      settle(() => true)
    },
  }
}
