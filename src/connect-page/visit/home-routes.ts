import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { mayActIn } from '../../callers/principal.ts'
import { hashSessionToken } from '../../connect-sessions/connect-session.ts'
import { findSessionByToken } from '../../connect-sessions/queries.ts'
import { publicProblems } from '../../http/problem-schema.ts'
import type { App } from '../../http/server.ts'
import type { PageContext } from '../context.ts'
import { readField, readId, readOrganization } from '../form-fields.ts'
import { identityNotice, noticeFor } from './notice-for.ts'
import { type LinkEnd, linkEnd } from './visitor.ts'

const GONE = 410

const showConnectPage = {
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
}

export const registerHomeRoutes = (app: App, context: PageContext): void => {
  const show = (request: FastifyRequest, reply: FastifyReply) => showHome(context, request, reply)
  app.get('/', { schema: { hide: true } }, show)
  app.get('/connect', { schema: showConnectPage }, show)
}

const showHome = async (context: PageContext, request: FastifyRequest, reply: FastifyReply) => {
  const { pages, visitors, texts } = context
  const token = readField(request.query, 'session')
  if (token !== undefined) return enter(context, reply, token)
  const visitor = await visitors.of(request, reply)
  const notice = await noticeFor(context, request, visitor)
  if (visitor.kind === 'nobody') {
    // The link is used up, and what it did stays on the screen over a reload.
    const identity = notice?.kind === 'identity' ? notice : await identityNotice(context, request)
    if (identity && notice?.kind !== 'done') return pages.message(reply, identity, 200)
    if (visitor.ended && !notice) return refuseLink(context, reply, visitor.ended)
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

/** The token of a link moves from the address bar, where history keeps it, into a cookie. */
const enter = async (context: PageContext, reply: FastifyReply, token: string) => {
  const { db, clock, visitors, at } = context
  const session = await findSessionByToken(db, hashSessionToken(token))
  const ended = linkEnd(session, new Date(clock()))
  if (!session || ended) return refuseLink(context, reply, ended ?? 'unknown')
  await visitors.enter(reply, session, token)
  return reply.redirect(at('/connect'), 303)
}

const refuseLink = ({ pages, texts }: PageContext, reply: FastifyReply, ended: LinkEnd) =>
  pages.message(reply, { kind: 'advice', advice: texts.ended[ended] }, GONE)
