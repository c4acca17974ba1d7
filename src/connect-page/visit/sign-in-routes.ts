import { hasRole, mayUsePage } from '../../callers/principal.ts'
import type { App } from '../../http/server.ts'
import type { PageContext } from '../context.ts'
import { readField } from '../form-fields.ts'

const schema = { hide: true }

export const registerSignInRoutes = (
  app: App,
  { authenticator, pages, visitors, receipts, texts, at }: PageContext,
): void => {
  app.get('/connect/sign-in', { schema }, (_request, reply) => pages.signIn(reply))

  app.post('/connect/sign-in', { schema }, async (request, reply) => {
    const key = readField(request.body, 'access_key')
    const principal = key === undefined ? undefined : await authenticator.identify(key)
    if (!principal) return pages.signIn(reply, { kind: 'advice', advice: texts.signIn.refused }, 401)
    if (!hasRole(principal, 'manager'))
      return pages.signIn(reply, { kind: 'advice', advice: texts.signIn.tooWeak }, 403)
    if (!mayUsePage(principal))
      return pages.signIn(reply, { kind: 'advice', advice: texts.signIn.notForPages }, 403)
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
