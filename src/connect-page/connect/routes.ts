import type { FastifyReply, FastifyRequest } from 'fastify'
import { createConnectSession } from '../../connect-sessions/create-session.ts'
import type { App } from '../../http/server.ts'
import { instanceName } from '../advice.ts'
import type { PageContext } from '../context.ts'
import { readOrganization } from '../form-fields.ts'
import { isFromOurPage } from '../visit/same-origin.ts'
import { connectPastedOAuthToken, connectPastedToken } from './connect-pasted.ts'
import { actorFor, type Connector, requireConnector } from './connector.ts'
import { readForm, reportOnPasted } from './report-on-pasted.ts'
import { undo } from './undo.ts'

const schema = { hide: true }
/** Time enough to sign in at GitLab. */
const MEMBER_SESSION_SECONDS = 900

/** Everything that connects an account, and takes it back. */
export const registerConnectRoutes = (
  app: App,
  context: PageContext,
  refuseCrossSite: (reply: FastifyReply) => Promise<unknown>,
): void => {
  const { texts, pages, visitors, receipts, at } = context

  app.post('/connect/verify', { schema }, async (request, reply) => {
    const visitor = await visitors.of(request, reply)
    const report = await reportOnPasted(context, visitor, readForm(request.query), request)
    return reply
      .type('text/html; charset=utf-8')
      .send(await reply.viewAsync('report.eta', { t: texts, report }))
  })

  app.post('/connect/token', { schema }, async (request, reply) => {
    const named = readOrganization(request.body)
    const connector = await requireConnector(context, request, reply, 'token', named)
    return connectPastedToken(context, connector, request, reply)
  })

  app.post('/connect/oauth-token', { schema }, async (request, reply) => {
    const named = readOrganization(request.body)
    const connector = await requireConnector(context, request, reply, 'oauth', named)
    return connectPastedOAuthToken(context, connector, request, reply)
  })

  // A link, not a form: see the content security policy in ../routes.ts.
  app.get<{ Params: { slug: string } }>('/connect/oauth/:slug', { schema }, async (request, reply) => {
    if (!isFromOurPage(request, context.publicUrl)) return refuseCrossSite(reply)
    const named = readOrganization(request.query)
    const connector = await requireConnector(context, request, reply, 'oauth', named)
    const token = await sessionTokenOf(context, connector, request)
    return reply.redirect(await context.startOAuth(request.params.slug, token, request, reply), 303)
  })

  app.post('/connect/undo', { schema }, async (request, reply) => {
    const member = await visitors.memberOf(request, reply)
    const { leftToRevoke, baseUrl } = await undo(context, await receipts.read(request), member, request.id)
    receipts.clear(reply)
    if (!leftToRevoke) return reply.redirect(at('/connect?done=undone'), 303)
    const link = { href: leftToRevoke.where, label: texts.links.open(instanceName(baseUrl)) }
    const notice = { kind: 'done', text: texts.done.notRevoked, remedy: leftToRevoke.reason, link } as const
    return pages.message(reply, notice, 200)
  })
}

/** The token of the link; for a member that of a connect session made for this one flow. */
const sessionTokenOf = async (
  context: PageContext,
  connector: Connector,
  request: FastifyRequest,
): Promise<string> => {
  const { visitor, organization } = connector
  if (visitor.kind === 'guest') return visitor.token
  const link = {
    organization,
    returnUrl: null,
    methods: ['oauth'],
    expiresInSeconds: MEMBER_SESSION_SECONDS,
  }
  return (await createConnectSession(context, link, actorFor(connector, request.id))).token
}
