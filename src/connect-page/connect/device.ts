import type { FastifyReply, FastifyRequest } from 'fastify'
import { originOf } from '../../callers/principal.ts'
import { addSeconds } from '../../clock/clock.ts'
import { resultUrl } from '../../connect-sessions/connect-session.ts'
import { RECEIPT_SECONDS } from '../../connect-sessions/receipt.ts'
import { Problem } from '../../errors/problem.ts'
import type { App } from '../../http/server.ts'
import type { PageContext } from '../context.ts'
import { readId } from '../form-fields.ts'
import { requireConnector } from './connector.ts'
import type { ShownDevice } from './shown-device.ts'
import { connectSessionFor } from './start-oauth.ts'

const schema = { hide: true }
/** Of one browser at once, in several tabs. */
const MOST_FLOWS = 5
/** Longer than a code lives: what came of it is still to be told. */
const KEPT_SECONDS = 3_600

/** "Connect with a code": for a GitLab that cannot redirect to us. */
export const registerDeviceRoutes = (app: App, context: PageContext): void => {
  const { clock, deviceFlows, oauthFlow, pages, at } = context
  const hrefOf = (id: string): string => at(`/connect/device?flow=${id}`)

  app.post<{ Params: { slug: string } }>('/connect/device/:slug', { schema }, async (request, reply) => {
    const connector = await requireConnector(context, request, reply, 'device')
    const session = await connectSessionFor(context, connector, 'device', request)
    const { authorizationId } = await oauthFlow.startDevice(request.params.slug, session.id)
    const earlier = (await deviceFlows.read(request))?.ids ?? []
    const ids = [authorizationId, ...earlier].slice(0, MOST_FLOWS)
    await deviceFlows.write(reply, { ids }, addSeconds(new Date(clock()), KEPT_SECONDS))
    return reply.redirect(hrefOf(authorizationId), 303)
  })

  app.get('/connect/device', { schema, exposeHeadRoute: false }, async (request, reply) => {
    const ids = (await deviceFlows.read(request))?.ids ?? []
    const id = readId(request.query, 'flow') ?? ids[0]
    if (id === undefined || !ids.includes(id)) throw new Problem('session_expired')
    const state = await oauthFlow.readDevice(id, originOf(request))
    if (state.kind === 'enter_code' || state.kind === 'completing')
      return pages.device(reply, state, hrefOf(id))
    return goOn(context, request, reply, state)
  })
}

/** To the question, or where the callback of the other flow would lead. htmx follows no redirect out of the page. */
const goOn = async (
  { clock, publicUrl, confirmations, receipts }: PageContext,
  request: FastifyRequest,
  reply: FastifyReply,
  state: Exclude<Awaited<ReturnType<PageContext['oauthFlow']['readDevice']>>, ShownDevice>,
) => {
  const isHtmx = request.headers['hx-request'] === 'true'
  const lead = (url: string) =>
    isHtmx ? reply.header('hx-redirect', url).code(204).send() : reply.redirect(url, 303)
  if (state.kind === 'waits') {
    await confirmations.write(reply, { authorizationId: state.authorizationId }, state.until)
    return lead(`${publicUrl}/connect/confirm`)
  }
  const { result, returnUrl, receipt } = state
  if (receipt) await receipts.write(reply, receipt, addSeconds(new Date(clock()), RECEIPT_SECONDS))
  return lead(resultUrl(result, publicUrl, returnUrl))
}
