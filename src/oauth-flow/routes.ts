import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { addSeconds } from '../clock/clock.ts'
import { createConfirmations } from '../connect-sessions/confirmation.ts'
import { resultUrl } from '../connect-sessions/connect-session.ts'
import { createReceipts, RECEIPT_SECONDS } from '../connect-sessions/receipt.ts'
import { publicProblems } from '../http/problem-schema.ts'
import type { App } from '../http/server.ts'
import { finishFlow } from './finish-flow.ts'
import type { FlowDeps } from './flow-deps.ts'
import { leadToPage } from './lead-to-page.ts'

const tags = ['Browser']
const Slug = Type.Object({
  slug: Type.String({ maxLength: 64, description: 'Slug of the OAuth app: `slug` of `GET /v1/oauth-apps`.' }),
})
const LONGEST_PARAMETER = 4096
const Parameter = (description: string) =>
  Type.Optional(Type.String({ maxLength: LONGEST_PARAMETER, description }))

const startOAuth = {
  operationId: 'startOAuth',
  tags,
  security: [],
  summary: 'Start OAuth in the browser',
  description:
    'Leads a person with a connect link to the page, which names the organization, who asks, and what is asked for. Nothing starts before the person presses the button there. For a link that has ended, the page says so.',
  params: Slug,
  querystring: Type.Object(
    { session: Type.String({ minLength: 1, maxLength: 200, description: 'Of the connect link.' }) },
    { additionalProperties: false },
  ),
  response: { 303: Type.Null({ description: 'To /connect.' }), ...publicProblems('not_found') },
}

const finishOAuth = {
  operationId: 'finishOAuth',
  tags,
  security: [],
  summary: 'Where GitLab sends the browser back',
  description:
    'Always 303. To the return_url of the connect session, else to /connect, with `status=connected&connection_id=` or `status=failed&code=` (access_denied, invalid_state, callback_replayed, session_expired, code_refused, authorization_failed, oauth_app_rejected, gitlab_unavailable, ...). To /connect/confirm when the GitLab account is connected in another organization already: nothing is stored before the person says yes there.',
  params: Slug,
  querystring: Type.Object(
    {
      code: Parameter('The authorization code.'),
      state: Parameter('What this service sent along, encrypted.'),
      error: Parameter('Why GitLab did not authorize (RFC 6749, section 4.1.2.1).'),
      error_description: Parameter('The same in words.'),
    },
    { additionalProperties: true },
  ),
  response: {
    303: Type.Null({ description: 'To the return_url, /connect or /connect/confirm.' }),
    ...publicProblems('not_found'),
  },
}

type Deps = FlowDeps & {
  publicUrl: string
  /** Opens a connect link in the browser. @returns the path of the page that shows it. */
  openLink(sessionToken: string, request: FastifyRequest, reply: FastifyReply): Promise<string>
}

/** No HEAD for either: what asks for it wants to know what is there, and must change nothing. */
const exposeHeadRoute = false

export const registerOAuthFlowRoutes = (app: App, deps: Deps): void => {
  const { publicUrl, clock } = deps
  const receipts = createReceipts(deps)
  const confirmations = createConfirmations(deps)

  app.get('/oauth/:slug/start', { schema: startOAuth, exposeHeadRoute }, async (request, reply) => {
    const url = await leadToPage(deps, request.params.slug, request.query.session, (token) =>
      deps.openLink(token, request, reply),
    )
    return reply.header('cache-control', 'no-store').redirect(url, 303)
  })

  app.get('/oauth/:slug/callback', { schema: finishOAuth, exposeHeadRoute }, async (request, reply) => {
    reply.header('cache-control', 'no-store')
    const end = await finishFlow(deps, request.params.slug, request.query, request, reply)
    if (end.kind === 'waits') {
      await confirmations.write(reply, { authorizationId: end.authorizationId }, end.until)
      return reply.redirect(`${publicUrl}/connect/confirm`, 303)
    }
    const until = addSeconds(new Date(clock()), RECEIPT_SECONDS)
    if (end.receipt) await receipts.write(reply, end.receipt, until)
    return reply.redirect(resultUrl(end.result, publicUrl, end.returnUrl), 303)
  })
}
