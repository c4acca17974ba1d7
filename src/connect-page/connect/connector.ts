import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Actor, actorOf } from '../../callers/principal.ts'
import { markSessionUsed, reopenSession } from '../../connect-sessions/queries.ts'
import { Problem } from '../../errors/problem.ts'
import type { PageContext } from '../context.ts'
import { mayConnect, type Visitor } from '../visit/visitor.ts'

/** A visitor who may connect this organization. */
export type Connector = { visitor: Exclude<Visitor, { kind: 'nobody' }>; organization: string }

/**
 * Who connects, and which organization: the one of the link, or the one that a member names.
 * @throws {Problem} session_expired, unauthorized, forbidden
 */
export const requireConnector = async (
  { visitors }: PageContext,
  request: FastifyRequest,
  reply: FastifyReply,
  method: 'oauth' | 'token',
  named: string | undefined,
): Promise<Connector> => {
  const visitor = await visitors.of(request, reply)
  if (visitor.kind === 'nobody') throw new Problem(visitor.ended ? 'session_expired' : 'unauthorized')
  const organization = visitor.kind === 'guest' ? visitor.session.organization : named
  if (organization === undefined || !mayConnect(visitor, organization, method)) throw new Problem('forbidden')
  return { visitor, organization }
}

export const actorFor = ({ visitor }: Connector, requestId: string): Actor =>
  visitor.kind === 'member'
    ? actorOf(visitor.principal, requestId)
    : { accessKeyId: visitor.session.access_key_id, requestId }

/** Marks a link as used before the work begins, so that of two submissions at once only one connects. */
export const withLink = async <Result>(
  { db, clock }: PageContext,
  { visitor }: Connector,
  work: () => Promise<Result>,
): Promise<Result> => {
  if (visitor.kind === 'member') return work()
  const { id } = visitor.session
  if (!(await markSessionUsed(db, id, new Date(clock())))) throw new Problem('session_expired')
  return work().catch(async (error: unknown) => {
    await reopenSession(db, id)
    throw error
  })
}
