import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Actor, actorOf } from '../../callers/principal.ts'
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
  method: 'oauth' | 'token',
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

/** Uses the link up in the transaction that connects: of two submissions at once only one connects. */
export const useLinkAlongside = ({ clock }: PageContext, { visitor }: Connector): Alongside | undefined => {
  if (visitor.kind === 'member') return undefined
  const { id } = visitor.link.session
  return async (transaction) => {
    if (!(await markSessionUsed(transaction, id, new Date(clock())))) throw new Problem('session_expired')
  }
}
