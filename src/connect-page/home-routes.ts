import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { mayActIn, organizationsOf } from '../callers/principal.ts'
import { hashSessionToken } from '../connect-sessions/connect-session.ts'
import { publicProblems } from '../http/problem-schema.ts'
import type { App } from '../http/server.ts'
import { adviceFor, isProblemCode } from './advice.ts'
import type { PageContext } from './context.ts'
import { readField, readId, readOrganization } from './form-fields.ts'
import { describeIdentity } from './identity.ts'
import type { Notice } from './pages.ts'
import { findSessionByToken } from './queries.ts'
import { linkEnd, type Visitor } from './visitor.ts'

const GONE = 410
/** What /connect?done= may say; anything else says nothing. */
const DONE_ABOUT = ['verified', 'refreshed', 'rotated', 'replaced'] as const
const DONE = ['disconnected', 'kept', 'undone', 'signedOut'] as const

export const registerHomeRoutes = (app: App, context: PageContext): void => {
  const { db, clock, texts, pages, visitors, receipts, at } = context

  /** The token of a link moves from the address bar, where history keeps it, into a cookie. */
  const enter = async (reply: FastifyReply, token: string) => {
    const session = await findSessionByToken(db, hashSessionToken(token))
    const ended = linkEnd(session, new Date(clock()))
    if (!session || ended) return refuseLink(reply, ended ?? 'unknown')
    await visitors.enter(reply, session, token)
    return reply.redirect(at('/connect'), 303)
  }

  const refuseLink = (reply: FastifyReply, ended: 'used' | 'expired' | 'unknown') =>
    pages.message(reply, { kind: 'advice', advice: texts.ended[ended] }, GONE)

  /** What the browser has just connected, with the way back. */
  const identityNotice = async (request: FastifyRequest): Promise<Notice | undefined> => {
    const receipt = await receipts.read(request)
    const identity = receipt && (await describeIdentity(context, receipt))
    return identity && { kind: 'identity', ...identity }
  }

  const doneNotice = async (request: FastifyRequest, visitor: Visitor): Promise<Notice | undefined> => {
    const done = readField(request.query, 'done')
    const simple = DONE.find((name) => name === done)
    if (simple) {
      const remedy = simple === 'undone' && visitor.kind === 'guest' ? texts.identity.afterUndo : undefined
      return { kind: 'done', text: texts.done[simple], remedy }
    }
    const about = DONE_ABOUT.find((name) => name === done)
    const id = readId(request.query, 'connection_id')
    if (!about || !id || visitor.kind !== 'member') return undefined
    const card = await pages.card(id, organizationsOf(visitor.principal))
    return card && { kind: 'done', text: texts.done[about](card.who) }
  }

  const noticeFor = async (request: FastifyRequest, visitor: Visitor): Promise<Notice | undefined> => {
    switch (readField(request.query, 'status')) {
      case 'connected':
        return (
          (await identityNotice(request)) ??
          (visitor.kind === 'member' ? undefined : { kind: 'advice', advice: texts.identity.elsewhere })
        )
      case 'failed': {
        const code = readField(request.query, 'code') ?? ''
        const known = isProblemCode(code) ? code : 'authorization_failed'
        return { kind: 'advice', advice: adviceFor(known, {}, texts) }
      }
      default:
        return doneNotice(request, visitor)
    }
  }

  const show = async (request: FastifyRequest, reply: FastifyReply) => {
    const token = readField(request.query, 'session')
    if (token !== undefined) return enter(reply, token)
    const visitor = await visitors.of(request, reply)
    const notice = await noticeFor(request, visitor)
    if (visitor.kind === 'nobody') {
      // The link is used up, and what it did stays on the screen over a reload.
      const identity = notice?.kind === 'identity' ? notice : await identityNotice(request)
      if (identity && notice?.kind !== 'done') return pages.message(reply, identity, 200)
      if (visitor.ended && !notice) return refuseLink(reply, visitor.ended)
      return pages.signIn(reply, notice)
    }
    const wanted = readOrganization(request.query)
    const outside = wanted && visitor.kind === 'member' && !mayActIn(visitor.principal, wanted)
    return pages.home(reply, visitor, {
      notice: outside ? { kind: 'advice', advice: texts.organization.unknown } : notice,
      organization: outside ? undefined : wanted,
      before: readId(request.query, 'after'),
    })
  }

  app.get('/', { schema: { hide: true } }, show)
  app.get(
    '/connect',
    {
      schema: {
        operationId: 'showConnectPage',
        tags: ['Browser'],
        security: [],
        summary: 'The GitLab Integration page',
        description:
          'A page for people. They connect GitLab with a connect link or signed in with an access key, and look after what is connected. The OAuth flow ends here, with `status` and `connection_id` or `code`, when its connect link has no return_url. The page is also at `/`.',
        response: {
          200: { description: 'The page.', content: { 'text/html': { schema: Type.String() } } },
          303: Type.Null({ description: 'The token of a connect link moves into a cookie.' }),
          ...publicProblems(),
        },
      },
    },
    show,
  )
}
