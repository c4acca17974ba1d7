import type { FastifyReply, FastifyRequest } from 'fastify'
import { createConnectSession } from '../../connect-sessions/create-session.ts'
import type { PageContext } from '../context.ts'
import { actorFor, type Connector } from './connector.ts'

/** Time enough to sign in at GitLab. */
const MEMBER_SESSION_SECONDS = 900

/** The link of a guest; for a member a connect session made for this one flow. */
export const connectSessionFor = async (
  context: PageContext,
  connector: Connector,
  method: 'oauth' | 'device',
  request: FastifyRequest,
): Promise<{ id: string }> => {
  const { visitor, organization } = connector
  if (visitor.kind === 'guest') return visitor.link.session
  const link = { organization, returnUrl: null, methods: [method], expiresInSeconds: MEMBER_SESSION_SECONDS }
  return createConnectSession(context, link, actorFor(connector, request))
}

/** Begins the OAuth flow. */
export const startOAuth = async (
  context: PageContext,
  slug: string,
  connector: Connector,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> => {
  const { id } = await connectSessionFor(context, connector, 'oauth', request)
  return reply.redirect(await context.oauthFlow.start(slug, id, request, reply), 303)
}
