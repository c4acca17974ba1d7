import type { LieName } from './lies.ts'
import type { ProxyName } from './proxies.ts'
import { matches, type RequestPattern } from './requests.ts'

export type FaultEffect =
  | { kind: 'delay'; seconds: number }
  | { kind: 'status'; status: number; body?: string; headers?: Record<string, string> }
  /** 200 and a web page where JSON was expected: a proxy or a login wall in between. */
  | { kind: 'html' }
  /** The connection dies before GitLab does anything. */
  | { kind: 'cut-before' }
  /** GitLab does everything, and the answer is lost. */
  | { kind: 'cut-after' }
  /** A proxy answers, or cuts the connection, while GitLab is at work: GitLab acts afterwards all the same. */
  | { kind: 'act-later'; answer: 'cut' | number; until: Promise<unknown> }
  /** @property name of the throttle; one that counts by address when left out. */
  | { kind: 'rate-limit'; retryAfterSeconds: number; name?: string }
  /** GitLab has banned the address of the caller. */
  | { kind: 'address-ban' }
  /** Something in front of GitLab answers in its place. */
  | { kind: 'proxy'; proxy: ProxyName }
  /** Refuses what maintenance mode refuses, and lets the rest through. */
  | { kind: 'maintenance' }
  | { kind: 'invalid-grant' }
  /** Never answers. */
  | { kind: 'hang' }
  | { kind: 'hold'; until: Promise<unknown> }
  /** GitLab does everything, and the answer waits. */
  | { kind: 'hold-after'; until: Promise<unknown> }
  /** GitLab does everything, and answers nonsense. */
  | { kind: 'lie'; lie: LieName }

export type FaultRule = {
  match: RequestPattern
  /** How many requests it strikes; default 1, `Infinity` allowed. */
  times?: number
  /** 0 to 1, per matching request; default 1. */
  probability?: number
  effect: FaultEffect
}

export type Faults = {
  /** Rules are asked in the order they were added; the first that fires is the only one for that request. */
  add(rule: FaultRule): { remove(): void; fired(): number }
  clear(): void
}

type ArmedRule = { rule: FaultRule; left: number; fired: number }

/** Reading, signing in and getting tokens go on in maintenance mode; fetching code does too, though it is a POST. */
const allowedInMaintenance = (method: string, path: string): boolean =>
  method === 'GET' ||
  method === 'HEAD' ||
  path === '/oauth/token' ||
  path === '/users/sign_in' ||
  path.endsWith('/git-upload-pack')

export const createFaults = (
  random: () => number = Math.random,
): Faults & {
  take(request: { method: string; path: string; grantType?: string | undefined }): FaultEffect | undefined
} => {
  let armed: ArmedRule[] = []
  return {
    add(rule) {
      const entry: ArmedRule = { rule, left: rule.times ?? 1, fired: 0 }
      armed.push(entry)
      return {
        remove() {
          armed = armed.filter((other) => other !== entry)
        },
        fired: () => entry.fired,
      }
    },
    clear() {
      armed = []
    },
    take(request) {
      for (const entry of armed) {
        const { match, probability = 1, effect } = entry.rule
        if (entry.left <= 0 || !matches(match, request)) continue
        if (effect.kind === 'maintenance' && allowedInMaintenance(request.method, request.path)) continue
        if (probability < 1 && random() >= probability) continue
        entry.left -= 1
        entry.fired += 1
        return effect
      }
      return undefined
    },
  }
}
