import { Problem } from '../errors/problem.ts'
import type { KeyRing } from './key-ring.ts'

export type LateKeyRing = {
  /** Refuses until `open`, as a database that is away does. */
  ring: KeyRing
  open(keyRing: KeyRing): void
}

/** A key ring for a process that listens before its database is there. */
export const createLateKeyRing = (): LateKeyRing => {
  let opened: KeyRing | undefined
  const need = (): KeyRing => {
    if (!opened)
      throw new Problem('database_unavailable', 'The service is starting: its keys are not open yet.', {
        retryAfterSeconds: 5,
      })
    return opened
  }
  return {
    // By name, whatever a key ring can do.
    ring: new Proxy({} as KeyRing, { get: (_, name) => Reflect.get(need(), name) }),
    open(keyRing) {
      opened = keyRing
    },
  }
}
