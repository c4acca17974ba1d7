import type { FastifyReply } from 'fastify'
import { originOf } from '../../callers/principal.ts'
import { addSeconds } from '../../clock/clock.ts'
import { resultUrl } from '../../connect-sessions/connect-session.ts'
import { RECEIPT_SECONDS } from '../../connect-sessions/receipt.ts'
import { Problem } from '../../errors/problem.ts'
import type { App } from '../../http/server.ts'
import { instanceName } from '../advice.ts'
import type { End, PageContext } from '../context.ts'
import { connectPastedOAuthToken, connectPastedToken } from './connect-pasted.ts'
import { requireConnector } from './connector.ts'
import { readPlace, reportOnPasted } from './report-on-pasted.ts'
import { startOAuth } from './start-oauth.ts'
import { undo } from './undo.ts'

const schema = { hide: true }

/** Everything that connects an account, and takes it back. */
export const registerConnectRoutes = (app: App, context: PageContext): void => {
  const { texts, pages, visitors, forms, receipts, at } = context

  app.post('/connect/verify', { schema }, async (request, reply) => {
    const place = readPlace(request.query)
    const report = await reportOnPasted(context, place, request, reply)
    return reply
      .type('text/html; charset=utf-8')
      .send(await reply.viewAsync('report.eta', { t: texts, at, report, place }))
  })

  app.post('/connect/token', { schema }, async (request, reply) => {
    const connector = await requireConnector(context, request, reply, 'token')
    return connectPastedToken(context, { connector, request, reply })
  })

  app.post('/connect/oauth-token', { schema }, async (request, reply) => {
    const connector = await requireConnector(context, request, reply, 'oauth')
    return connectPastedOAuthToken(context, { connector, request, reply })
  })

  app.post<{ Params: { slug: string } }>('/connect/oauth/:slug', { schema }, async (request, reply) => {
    const connector = await requireConnector(context, request, reply, 'oauth')
    return startOAuth(context, request.params.slug, connector, request, reply)
  })

  app.post('/connect/undo', { schema }, async (request, reply) => {
    const { receipt } = await forms.open(request.body, 'undoing')
    const member = await visitors.memberOf(request, reply)
    const { leftToRevoke, baseUrl } = await undo(context, receipt, member, originOf(request))
    receipts.clear(reply)
    const { connectSessionId } = receipt
    const link = connectSessionId === null ? '' : `&link=${connectSessionId}`
    if (!leftToRevoke) return reply.redirect(at(`/connect?done=undone${link}`), 303)
    const where = { href: leftToRevoke.where, label: texts.links.open(instanceName(baseUrl)) }
    const notice = {
      kind: 'done',
      text: texts.done.notRevoked,
      remedy: leftToRevoke.reason,
      link: where,
    } as const
    return pages.message(reply, notice, 200)
  })
}

/** Asks before an account is connected that another organization has connected too, and takes the answer. */
export const registerQuestionRoutes = (app: App, context: PageContext): void => {
  const { pages, forms, confirmations, oauthFlow } = context

  app.get('/connect/confirm', { schema }, async (request, reply) => {
    const waiting = await confirmations.read(request)
    if (!waiting) throw new Problem('session_expired')
    const { authorizationId } = waiting
    return pages.question(reply, authorizationId, await oauthFlow.readQuestion(authorizationId))
  })

  app.post('/connect/confirm', { schema }, async (request, reply) => {
    const { authorizationId } = await forms.open(request.body, 'confirming')
    return goOn(context, reply, await oauthFlow.confirm(authorizationId, originOf(request)))
  })

  app.post('/connect/decline', { schema }, async (request, reply) => {
    const { authorizationId } = await forms.open(request.body, 'confirming')
    return goOn(context, reply, await oauthFlow.decline(authorizationId))
  })
}

/** Where the callback would have led without the question. */
const goOn = async (context: PageContext, reply: FastifyReply, { result, returnUrl, receipt }: End) => {
  const { clock, publicUrl, receipts, confirmations } = context
  confirmations.clear(reply)
  if (receipt) await receipts.write(reply, receipt, addSeconds(new Date(clock()), RECEIPT_SECONDS))
  return reply.redirect(resultUrl(result, publicUrl, returnUrl), 303)
}
