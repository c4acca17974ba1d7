import { setTimeout as sleep } from 'node:timers/promises'

/** How long one caller waits for a change that another writer is making: shorter than a scanner's own patience. */
const PATIENCE_MS = 12_000
const PAUSE_MS = 100

export type Patience = {
  isOver(): boolean
  /** Waits a moment before looking again. */
  pause(): Promise<void>
}

/** Counts from now by the monotonic clock: setting the system clock shortens or prolongs nothing. */
export const startPatience = (): Patience => {
  const end = performance.now() + PATIENCE_MS
  return { isOver: () => performance.now() > end, pause: () => sleep(PAUSE_MS) }
}
