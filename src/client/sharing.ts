import type { Call } from './call.ts'
import type { Credential } from './generated.ts'
import {
  createSharedLease,
  type Lease,
  releaseShared,
  type SharedLease,
  useLease,
  type Wanted,
} from './lease.ts'

/** Without a min_ttl a shared lease is good for another user while it lasts this long. */
const SHARED_SECONDS = 60

export type Sharing = {
  /** Users at the same time share a lease, when it lasts long enough for each. @param name of what is looked up */
  lease(name: string, wanted: Wanted, ask: () => Promise<Credential>): Promise<Lease>
  /** Gives back every lease that is kept. */
  close(): Promise<void>
}

/** @param giveBack calls the broker with little patience: nobody waits long for the end of a lease */
export const createSharing = (
  { call, giveBack }: { call: Call; giveBack: Call },
  keepSeconds = 0,
): Sharing => {
  const keepMs = keepSeconds * 1000
  const kept = new Map<string, Promise<SharedLease>>()

  const drop = async (name: string, shared: SharedLease): Promise<void> => {
    clearTimeout(shared.idle)
    if ((await kept.get(name)) === shared) kept.delete(name)
    await releaseShared(giveBack, shared)
  }

  const lease = async (name: string, wanted: Wanted, ask: () => Promise<Credential>): Promise<Lease> => {
    const onLast = async (shared: SharedLease): Promise<void> => {
      const left = shared.until - performance.now()
      if (keepMs === 0 || left <= 0 || shared.isRefused || (await kept.get(name)) !== shared)
        return drop(name, shared)
      // Given back by itself; a process that ends first leaves that to the end of the lease.
      shared.idle = setTimeout(() => void drop(name, shared).catch(() => undefined), Math.min(keepMs, left))
      shared.idle.unref()
    }
    const known = kept.get(name)
    const shared = await known?.catch(() => undefined)
    const needed = (wanted.minTtl ?? SHARED_SECONDS) * 1000
    if (shared && !shared.isRefused && shared.until - performance.now() >= needed) {
      clearTimeout(shared.idle)
      return useLease(call, shared, onLast)
    }
    // Another caller was faster: look again.
    if (known !== kept.get(name)) return lease(name, wanted, ask)
    const asked = ask().then((credential) => createSharedLease(credential, wanted))
    kept.set(name, asked)
    try {
      return useLease(call, await asked, onLast)
    } catch (error) {
      if (kept.get(name) === asked) kept.delete(name)
      throw error
    }
  }

  return {
    lease,
    async close() {
      const all = await Promise.allSettled(kept.values())
      kept.clear()
      const leases = all.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
      for (const shared of leases) clearTimeout(shared.idle)
      await Promise.allSettled(leases.map((shared) => releaseShared(giveBack, shared)))
    },
  }
}
