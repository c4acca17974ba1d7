import { recordAuditEvent } from '../audit/queries.ts'
import { hasRole } from '../callers/principal.ts'
import type { App } from '../http/server.ts'
import type { PageContext } from './context.ts'
import { readField } from './form-fields.ts'

const schema = { hide: true }

export const registerSignInRoutes = (
  app: App,
  { db, clock, authenticator, refusals, pages, visitors, receipts, texts, at }: PageContext,
): void => {
  app.get('/connect/sign-in', { schema }, (_request, reply) => pages.signIn(reply))

  app.post('/connect/sign-in', { schema }, async (request, reply) => {
    const key = readField(request.body, 'access_key')
    const principal = key === undefined ? undefined : await authenticator.identify(key)
    const actor = { accessKeyId: principal?.id, requestId: request.id, address: request.ip }
    if (!principal || !hasRole(principal, 'manager')) {
      refusals.note({ ...actor, action: 'sign_in.refused' })
      const advice = principal ? texts.signIn.tooWeak : texts.signIn.refused
      return pages.signIn(reply, { kind: 'advice', advice }, principal ? 403 : 401)
    }
    await recordAuditEvent(db, { ...actor, at: new Date(clock()), action: 'sign_in.accepted' })
    // Who signs in means to see the accounts, whatever link was opened before.
    visitors.leave(reply)
    receipts.clear(reply)
    await visitors.signIn(reply, principal)
    return reply.redirect(at('/connect'), 303)
  })

  app.post('/connect/sign-out', { schema }, async (_request, reply) => {
    visitors.signOut(reply)
    receipts.clear(reply)
    return reply.redirect(at('/connect?done=signedOut'), 303)
  })

  app.post('/connect/leave', { schema }, async (_request, reply) => {
    visitors.leave(reply)
    receipts.clear(reply)
    return reply.redirect(at('/connect'), 303)
  })
}
