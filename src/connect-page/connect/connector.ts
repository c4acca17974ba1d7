import type { FastifyReply, FastifyRequest } from 'fastify'
import { findPrincipal } from '../../access-keys/identify.ts'
import { type Actor, actorOf, isExpired, mayActIn } from '../../callers/principal.ts'
import { markSessionUsed } from '../../connect-sessions/queries.ts'
import type { Alongside } from '../../connections/save-connection.ts'
import { Problem } from '../../errors/problem.ts'
import type { PageContext } from '../context.ts'
import { requireSender } from '../visit/sealed-form.ts'
import type { Guest, Member } from '../visit/visitor.ts'

/** Who connects, and which organization: as the page with the form showed it. */
export type Connector = { visitor: Guest | Member; organization: string }

/** @throws {Problem} session_expired, unauthorized, forbidden */
export const requireConnector = async (
  context: PageContext,
  request: FastifyRequest,
  reply: FastifyReply,
  method: 'oauth' | 'device' | 'token',
): Promise<Connector> => {
  const { visitor, organization } = await requireSender(context, request, reply)
  const allowed = visitor.kind === 'member' || visitor.link.session.methods.includes(method)
  if (organization === null || !allowed) throw new Problem('forbidden')
  return { visitor, organization }
}

export const actorFor = ({ visitor }: Connector, request: FastifyRequest): Actor =>
  visitor.kind === 'member'
    ? actorOf(visitor.principal, request)
    : actorOf({ id: visitor.link.session.access_key_id }, request)

/**
 * What is checked once more in the transaction that connects, because GitLab was asked meanwhile: the link is used up,
 * so that of two submissions at once only one connects, and the access key behind it still lives.
 */
export const checkAlongside =
  ({ clock }: PageContext, { visitor, organization }: Connector): Alongside =>
  async (transaction) => {
    const now = new Date(clock())
    if (visitor.kind === 'guest') {
      if (!(await markSessionUsed(transaction, visitor.link.session.id, now)))
        throw new Problem('session_expired')
      return
    }
    const principal = await findPrincipal(transaction, visitor.principal.id)
    if (!principal || isExpired(principal, now) || !mayActIn(principal, organization))
      throw new Problem('unauthorized')
  }
