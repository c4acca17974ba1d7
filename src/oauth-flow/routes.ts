import { Type } from 'typebox'
import { addSeconds } from '../clock/clock.ts'
import { resultUrl } from '../connect-sessions/connect-session.ts'
import { createReceipts, RECEIPT_SECONDS } from '../connect-sessions/receipt.ts'
import { statusOf } from '../errors/catalogue.ts'
import { Problem } from '../errors/problem.ts'
import { publicProblems } from '../http/problem-schema.ts'
import type { App } from '../http/server.ts'
import { finishFlow, startFlow } from './flow.ts'
import type { FlowDeps } from './flow-deps.ts'

const tags = ['Browser']
const Slug = Type.Object({
  slug: Type.String({ maxLength: 64, description: 'Slug of the OAuth app: `slug` of `GET /v1/oauth-apps`.' }),
})
const LONGEST_PARAMETER = 4096
const Parameter = (description: string) =>
  Type.Optional(Type.String({ maxLength: LONGEST_PARAMETER, description }))

export const registerOAuthFlowRoutes = (app: App, deps: FlowDeps & { publicUrl: string }): void => {
  const receipts = createReceipts(deps)

  app.get(
    '/oauth/:slug/start',
    {
      schema: {
        operationId: 'startOAuth',
        tags,
        security: [],
        summary: 'Start OAuth in the browser',
        description:
          'Sends the browser of a person with a connect link to GitLab. When the link has ended, 303 leads to /connect, and the page says so.',
        params: Slug,
        querystring: Type.Object(
          {
            session: Type.String({
              minLength: 1,
              maxLength: 200,
              description: 'The token of the connect link.',
            }),
          },
          { additionalProperties: false },
        ),
        response: {
          303: Type.Null({ description: 'The browser goes to GitLab.' }),
          ...publicProblems('not_found'),
        },
      },
    },
    async (request, reply) => {
      reply.header('cache-control', 'no-store')
      try {
        const url = await startFlow(deps, request.params.slug, request.query.session, request, reply)
        return await reply.redirect(url, 303)
      } catch (error) {
        if (!(error instanceof Problem) || error.code === 'not_found' || statusOf(error.code) >= 500)
          throw error
        return reply.redirect(resultUrl({ status: 'failed', code: error.code }, deps.publicUrl, null), 303)
      }
    },
  )

  app.get(
    '/oauth/:slug/callback',
    {
      schema: {
        operationId: 'finishOAuth',
        tags,
        security: [],
        summary: 'Where GitLab sends the browser back',
        description:
          'Always answers 303, to the return_url of the connect session or, when there is none, to /connect. The URL has `status=connected&connection_id=` or `status=failed&code=` (access_denied, invalid_state, callback_replayed, session_expired, code_refused, authorization_failed, oauth_app_rejected, gitlab_unavailable, ...).',
        params: Slug,
        querystring: Type.Object(
          {
            code: Parameter('The authorization code.'),
            state: Parameter('What this service sent to GitLab, encrypted.'),
            error: Parameter('Why GitLab did not authorize (RFC 6749, section 4.1.2.1).'),
            error_description: Parameter('The same as a sentence.'),
          },
          { additionalProperties: true },
        ),
        response: {
          303: Type.Null({ description: 'The browser goes to the return_url or to /connect.' }),
          ...publicProblems('not_found'),
        },
      },
    },
    async (request, reply) => {
      reply.header('cache-control', 'no-store')
      const end = await finishFlow(deps, request.params.slug, request.query, request, reply)
      const { result, returnUrl, receipt } = end
      if (receipt) await receipts.write(reply, receipt, addSeconds(new Date(deps.clock()), RECEIPT_SECONDS))
      return reply.redirect(resultUrl(result, deps.publicUrl, returnUrl), 303)
    },
  )
}
