import { LRUCache } from 'lru-cache'
import { accountName } from '../../gitlab/http-client.ts'
import { WHOLE_RATE } from '../../gitlab/throttle.ts'
import type { InstanceClients } from '../../instances/instance-clients.ts'
import type { RateBudgets } from './queries.ts'

/** What GitLab lets the accounts of connections do still, as far as this process has heard. */
export type KnownBudgets = {
  /** @param token that was shown to GitLab */
  note(connection: { id: string; instanceId: string }, token: string): void
  /** Those that have less than all of it. */
  low(): RateBudgets
}

/** Only connections that compete for a project are noted. */
const KEPT_CONNECTIONS = 500

/** Joins connections to what the weather of their instances knows of the account of a token. */
export const createRateBudgets = ({ weatherOf }: Pick<InstanceClients, 'weatherOf'>): KnownBudgets => {
  const kept = new LRUCache<string, { instanceId: string; account: string }>({ max: KEPT_CONNECTIONS })
  return {
    note({ id, instanceId }, token) {
      kept.set(id, { instanceId, account: accountName(token) })
    },
    low() {
      const found = [...kept]
        .map(([id, { instanceId, account }]) => ({ id, left: weatherOf(instanceId).leftOf(account) }))
        .filter(({ left }) => left < WHOLE_RATE)
      return { ids: found.map(({ id }) => id), left: found.map(({ left }) => left) }
    },
  }
}
