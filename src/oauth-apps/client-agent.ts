import type { Agent, ClientRequest } from 'node:http'

/** Wreck limits the time until an answer begins, and once more until it ends. This limits both together. */
const limitRequest = (request: ClientRequest, limitMs: number): void => {
  const timer = setTimeout(() => request.destroy(new Error('The answer timed out')), limitMs)
  request.once('close', () => clearTimeout(timer))
}

/**
 * simple-oauth2 deep-clones its configuration, and a clone of an agent that has sockets does not work. Functions are
 * not cloned: this one passes everything on to the agent, so that one agent serves the whole instance.
 * @param limitMs for a request and its whole answer.
 */
export const agentFor = (agent: Agent, limitMs: number): object =>
  new Proxy(() => undefined, {
    get(_target, property) {
      const value: unknown = Reflect.get(agent, property, agent)
      if (typeof value !== 'function') return value
      if (property !== 'addRequest') return value.bind(agent)
      return (request: ClientRequest, ...rest: unknown[]) => {
        limitRequest(request, limitMs)
        return value.call(agent, request, ...rest)
      }
    },
  })
