import type { onRequestHookHandler } from 'fastify'
import { isLoopback, plainHost } from '../config/hosts.ts'
import { Problem } from '../errors/problem.ts'
import { answerProblem } from './errors.ts'

/** An orchestrator asks these by the address of the process, whatever that is. */
const ANSWERS_ANY_HOST = new Set(['/healthz', '/readyz'])

const DETAIL =
  'This service does not answer under this host name. Use the host of PUBLIC_URL, or name this one in ALLOWED_HOSTS.'

/**
 * An onRequest hook. A site whose name its owner points to this service (DNS rebinding) would share its origin with it;
 * so what is not asked by one of its own names is not answered.
 */
export const refuseForeignHosts = (hosts: string[]): onRequestHookHandler => {
  const own = new Set(hosts.map(plainHost))
  const isOwn = (host: string): boolean => own.has(plainHost(host)) || isLoopback(host)
  // Answered here: the page shows errors in a page of its own.
  return (request, reply, done) => {
    if (isOwn(request.hostname) || ANSWERS_ANY_HOST.has(request.routeOptions.url ?? '')) done()
    else answerProblem(request, reply, new Problem('unknown_host', DETAIL))
  }
}
