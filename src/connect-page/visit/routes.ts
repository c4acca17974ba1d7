import { recordAuditEvent } from '../../audit/queries.ts'
import { hasRole, mayUsePage, originOf, type Principal } from '../../callers/principal.ts'
import { requireLink } from '../../connect-sessions/find-link.ts'
import type { App } from '../../http/server.ts'
import type { PageContext } from '../context.ts'
import { readField } from '../form-fields.ts'
import type { Texts } from '../texts.en.ts'
import { leaveLink, switchToLink } from './open-link.ts'

const schema = { hide: true }

const adviceForRefused = (principal: Principal | undefined, { signIn }: Texts) => {
  if (!principal) return signIn.refused
  return hasRole(principal, 'manager') ? signIn.notForPages : signIn.tooWeak
}

/** Who somebody is on this page: signing in and out, opening a link and leaving it. */
export const registerVisitRoutes = (app: App, context: PageContext): void => {
  const { authenticator, refusals, db, clock, pages, visitors, forms, receipts, texts, at } = context

  app.get('/connect/sign-in', { schema }, (_request, reply) => pages.signIn(reply))

  app.post('/connect/sign-in', { schema }, async (request, reply) => {
    const key = readField(request.body, 'access_key')
    const principal = key === undefined ? undefined : await authenticator.identify(key)
    const actor = { accessKeyId: principal?.id, ...originOf(request) }
    if (!principal || !mayUsePage(principal)) {
      refusals.note({ ...actor, action: 'sign_in.refused' })
      const advice = adviceForRefused(principal, texts)
      return pages.signIn(reply, { kind: 'advice', advice }, principal ? 403 : 401)
    }
    await recordAuditEvent(db, { ...actor, at: new Date(clock()), action: 'sign_in.accepted' })
    // Who signs in means to see the accounts, whatever link was opened before.
    await visitors.keep(reply, [])
    receipts.clear(reply)
    await visitors.signIn(reply, principal)
    return reply.redirect(at('/connect'), 303)
  })

  app.post('/connect/sign-out', { schema }, async (request, reply) => {
    await forms.open(request.body, 'member')
    visitors.signOut(reply)
    receipts.clear(reply)
    return reply.redirect(at('/connect?done=signedOut'), 303)
  })

  app.post('/connect/open', { schema }, async (request, reply) => {
    const { token } = await forms.open(request.body, 'opening')
    await requireLink(db, { token }, new Date(clock()))
    await switchToLink(context, token, request, reply)
    return reply.redirect(at('/connect'), 303)
  })

  app.post('/connect/leave', { schema }, async (request, reply) => {
    const { connectSessionId } = await forms.open(request.body, 'guest')
    await leaveLink(context, connectSessionId, request, reply)
    receipts.clear(reply)
    return reply.redirect(at('/connect'), 303)
  })
}
