import type { FastifyRequest, onRequestHookHandler } from 'fastify'
import { isLoopback, plainHost } from '../config/hosts.ts'
import { Problem } from '../errors/problem.ts'

/** An orchestrator asks these by the address of the process, whatever that is. */
const ANSWERS_ANY_HOST = new Set(['/healthz', '/readyz'])

/**
 * An onRequest hook. A site whose name its owner points to this service (DNS rebinding) would share its origin with it;
 * so what is not asked by one of its own names is not answered.
 */
export const refuseForeignHosts = (hosts: string[]): onRequestHookHandler => {
  const own = new Set(hosts.map(plainHost))
  const isOwn = (host: string): boolean => own.has(plainHost(host)) || isLoopback(host)
  return (request: FastifyRequest, _reply, done) => {
    if (isOwn(request.hostname) || ANSWERS_ANY_HOST.has(request.routeOptions.url ?? '')) done()
    else
      done(
        new Problem(
          'unknown_host',
          'This service does not answer under this host name. Use the host of PUBLIC_URL, or name this one in ALLOWED_HOSTS.',
        ),
      )
  }
}
