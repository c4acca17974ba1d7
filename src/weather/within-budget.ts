import type { GitLabHttpClient } from '../gitlab/http-client.ts'
import type { TransportFailure } from '../gitlab/transport-failure.ts'
import type { RefusalBudget } from './refusal-budget.ts'

const NOT_NOW_SECONDS = 60

const notNow: TransportFailure = {
  kind: 'failure',
  reason: 'overloaded',
  mayHaveActed: false,
  retryAfterSeconds: NOT_NOW_SECONDS,
}

/**
 * A client for questions that GitLab may refuse. It sends nothing while GitLab has refused too much already: what comes on
 * top could have our address banned.
 * @param room so much may be spent at the most, for questions that nobody has to have answered
 */
export const withinBudget = (
  client: GitLabHttpClient,
  instanceId: string,
  budget: RefusalBudget,
  room?: number,
): GitLabHttpClient => ({
  ...client,
  async send(request) {
    let entered = false
    const turnAway = (): TransportFailure | undefined => {
      entered = budget.hasRoom(instanceId) && budget.enter(instanceId, room)
      return entered ? undefined : notNow
    }
    try {
      return await client.send({ ...request, turnAway })
    } finally {
      if (entered) budget.leave(instanceId)
    }
  },
})
