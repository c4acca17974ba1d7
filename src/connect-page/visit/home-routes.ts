import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { mayActIn } from '../../callers/principal.ts'
import { publicProblems } from '../../http/problem-schema.ts'
import type { App } from '../../http/server.ts'
import type { PageContext } from '../context.ts'
import { readField, readId, readOrganization } from '../form-fields.ts'
import { identityNotice, noticeFor } from './notice-for.ts'
import { openLink } from './open-link.ts'

const showConnectPage = {
  operationId: 'showConnectPage',
  tags: ['Browser'],
  security: [],
  summary: 'The GitLab Integration page',
  description:
    'A page for people. They connect GitLab with a connect link or signed in with an access key, and look after what is connected. The page names the organization, who asks, and what GitLab is asked for. Its buttons send forms to `/connect/oauth/{slug}` and `/connect/token`, which accept forms of this page alone. Where the person connects with a code, a form goes to `/connect/device/{slug}`, and `code` may be `device_grant_unsupported` or `device_code_expired`, too. The OAuth flow ends here, with `status` and `connection_id` or `code`, when its connect link has no return_url. The page is also at `/`.',
  response: {
    200: {
      description: 'The page. Where somebody is signed in, a connect link asks before it is opened.',
      content: { 'text/html': { schema: Type.String() } },
    },
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
  if (token !== undefined) return showLink(context, token, request, reply)
  const visitor = await visitors.of(request, reply, readId(request.query, 'link'))
  const notice = await noticeFor(context, request, visitor)
  // Another link may be open here: what was just connected must not look as if it were for that one.
  if (notice?.kind === 'identity' && visitor.kind !== 'member') return pages.message(reply, notice, 200)
  if (visitor.kind === 'nobody') {
    // The link is used up, and what it did stays on the screen over a reload.
    const identity = await identityNotice(context, request)
    if (identity && !notice) return pages.message(reply, identity, 200)
    if (visitor.ended && !notice) return pages.endedLink(reply, visitor.ended)
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

/** Follows a connect link: opens it, asks first, or says why it has ended. */
const showLink = async (
  context: PageContext,
  token: string,
  request: FastifyRequest,
  reply: FastifyReply,
) => {
  const opening = await openLink(context, token, request, reply)
  switch (opening.kind) {
    case 'opened':
      return reply.redirect(context.at(opening.path), 303)
    case 'asks':
      return context.pages.openLink(reply, token, opening.link, opening.member)
    case 'ended':
      return context.pages.endedLink(reply, opening.ended)
  }
}
