import type { FastifyReply, FastifyRequest } from 'fastify'
import { createConnectSession } from '../../connect-sessions/create-session.ts'
import type { PageContext } from '../context.ts'
import { actorFor, type Connector } from './connector.ts'

/** Time enough to sign in at GitLab. */
const MEMBER_SESSION_SECONDS = 900

/** Begins the OAuth flow by the link of a guest; for a member by a connect session made for this one flow. */
export const startOAuth = async (
  context: PageContext,
  slug: string,
  connector: Connector,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> => {
  const { visitor, organization } = connector
  const link = { organization, returnUrl: null, methods: ['oauth'], expiresInSeconds: MEMBER_SESSION_SECONDS }
  const { id } =
    visitor.kind === 'guest'
      ? visitor.link.session
      : await createConnectSession(context, link, actorFor(connector, request))
  return reply.redirect(await context.oauthFlow.start(slug, id, request, reply), 303)
}
