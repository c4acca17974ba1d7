import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Actor, actorOf, mayActIn } from '../callers/principal.ts'
import { addSeconds } from '../clock/clock.ts'
import { createConnectSession } from '../connect-sessions/create-session.ts'
import { findSession, markSessionUsed, reopenSession } from '../connect-sessions/queries.ts'
import { RECEIPT_SECONDS } from '../connect-sessions/receipt.ts'
import { checkToken } from '../connections/check-token.ts'
import { connectAccessToken, connectOAuthToken } from '../connections/connect-token.ts'
import { disconnect } from '../connections/disconnect.ts'
import type { SavedConnection } from '../connections/save-connection.ts'
import { statusOf } from '../errors/catalogue.ts'
import { invalidField, Problem } from '../errors/problem.ts'
import { canonicalBaseUrl } from '../gitlab/base-url.ts'
import type { TokenFacts } from '../gitlab/inspect-token.ts'
import { toProblem } from '../http/errors.ts'
import type { App } from '../http/server.ts'
import { findConnection } from '../token-lifecycle/queries.ts'
import { adviceForProblem } from './advice.ts'
import type { PageContext } from './context.ts'
import { readField, readOrganization, requireToken } from './form-fields.ts'
import type { RefusedForm } from './pages.ts'
import { findOfferedApp, listOfferedApps, type OfferedApp } from './queries.ts'
import { isFromOurPage } from './same-origin.ts'
import { reportOn, type TokenReport } from './token-report.ts'
import { mayConnect, type Visitor } from './visitor.ts'

const schema = { hide: true }
/** Time enough to sign in at GitLab. */
const MEMBER_SESSION_SECONDS = 900
/** Which form a token is pasted into, and which kinds it takes; `any` takes all. */
const FORMS = ['oauth', 'token', 'any'] as const
type Form = (typeof FORMS)[number]

const refuseOtherForm =
  (form: Form) =>
  ({ kind }: TokenFacts): Problem | undefined =>
    form === 'any' || (kind === 'oauth_access_token') === (form === 'oauth')
      ? undefined
      : new Problem('wrong_token_kind')

type Connector = Exclude<Visitor, { kind: 'nobody' }>

export const registerConnectRoutes = (
  app: App,
  context: PageContext,
  refuseCrossSite: (reply: FastifyReply) => Promise<unknown>,
): void => {
  const { db, clock, texts, pages, visitors, receipts, at } = context

  /** Who may connect this organization, or a refusal. */
  const requireConnector = async (
    request: FastifyRequest,
    reply: FastifyReply,
    method: 'oauth' | 'token',
    organization: string | undefined,
  ): Promise<{ visitor: Connector; organization: string }> => {
    const visitor = await visitors.of(request, reply)
    if (visitor.kind === 'nobody') throw new Problem(visitor.ended ? 'session_expired' : 'unauthorized')
    const chosen = visitor.kind === 'guest' ? visitor.session.organization : organization
    if (chosen === undefined || !mayConnect(visitor, chosen, method)) throw new Problem('forbidden')
    return { visitor, organization: chosen }
  }

  const callerFor = (visitor: Connector, request: FastifyRequest): Actor =>
    visitor.kind === 'member'
      ? actorOf(visitor.principal, request)
      : actorOf({ id: visitor.session.access_key_id }, request)

  /** A link is used before the work begins, so that two submissions at once cannot both connect. */
  const withLink = async <Result>(visitor: Connector, work: () => Promise<Result>): Promise<Result> => {
    if (visitor.kind === 'member') return work()
    const { id } = visitor.session
    if (!(await markSessionUsed(db, id, new Date(clock())))) throw new Problem('session_expired')
    return work().catch(async (error: unknown) => {
      await reopenSession(db, id)
      throw error
    })
  }

  /** Connects what a form holds; a refusal comes back in the form, without the token. */
  const submit = async (
    request: FastifyRequest,
    reply: FastifyReply,
    { visitor, organization }: { visitor: Connector; organization: string },
    filledIn: Omit<RefusedForm, 'advice'>,
    connect: (caller: Actor) => Promise<SavedConnection>,
  ) => {
    try {
      const saved = await withLink(visitor, () => connect(callerFor(visitor, request)))
      const receipt = {
        connectionId: saved.id,
        connectSessionId: visitor.kind === 'guest' ? visitor.session.id : null,
        created: saved.created,
        issuedToUs: false,
      }
      await receipts.write(reply, receipt, addSeconds(new Date(clock()), RECEIPT_SECONDS))
      return reply.redirect(at(`/connect?status=connected&connection_id=${saved.id}`), 303)
    } catch (error) {
      if (!(error instanceof Problem) || error.code === 'session_expired') throw error
      const { baseUrl, group } = filledIn
      const advice = adviceForProblem(error, { baseUrl: baseUrl || undefined, group }, texts)
      return pages.home(reply, visitor, {
        refused: { ...filledIn, advice },
        organization,
        status: statusOf(error.code),
      })
    }
  }

  app.post('/connect/verify', { schema }, async (request, reply) => {
    const visitor = await visitors.of(request, reply)
    const form = FORMS.find((name) => name === readField(request.query, 'place')) ?? 'any'
    const report = await describeToken(visitor, request.body, form, request)
    return reply
      .type('text/html; charset=utf-8')
      .send(await reply.viewAsync('report.eta', { t: texts, report }))
  })

  const describeToken = async (
    visitor: Visitor,
    body: unknown,
    form: Form,
    request: FastifyRequest,
  ): Promise<TokenReport> => {
    if (visitor.kind === 'nobody') {
      const advice = { ...texts.report.signedOut, code: 'unauthorized', link: undefined, detail: undefined }
      return { kind: 'refused', advice }
    }
    if (readField(body, 'token') === undefined) return { kind: 'waiting' }
    try {
      return await askGitLab(body, form)
    } catch (error) {
      // The answer is a part of a page: an error page has no place in it.
      const problem = toProblem(error as Parameters<typeof toProblem>[0]) ?? new Problem('internal_error')
      if (problem.code === 'internal_error')
        request.log.error({ err: error, request_id: request.id }, 'unexpected error')
      return { kind: 'refused', advice: adviceForProblem(problem, {}, texts) }
    }
  }

  const askGitLab = async (body: unknown, form: Form): Promise<TokenReport> => {
    const token = requireToken(body, 'token')
    const baseUrl = await baseUrlOf(body, await chosenApp(body))
    const pasted = { token, baseUrl, group: readField(body, 'group') }
    const finding = await checkToken(context, { ...pasted, refuse: refuseOtherForm(form) })
    return reportOn(finding, pasted, new Date(clock()), texts)
  }

  const chosenApp = async (body: unknown) => {
    const slug = readField(body, 'oauth_app')
    return slug === undefined ? undefined : findOfferedApp(db, slug)
  }

  /** A token goes to no other server than a person names; what the form suggested, nobody has named. */
  const baseUrlOf = async (body: unknown, app: OfferedApp | undefined): Promise<string | undefined> => {
    const typed = readField(body, 'base_url')
    if (!app || typed === undefined) return app?.base_url ?? typed
    const [suggested] = await listOfferedApps(db, 1)
    const named = canonicalBaseUrl(typed)
    if (named !== app.base_url && named !== suggested?.base_url) {
      throw invalidField('base_url', 'names another server than the application')
    }
    return app.base_url
  }

  app.post('/connect/token', { schema }, async (request, reply) => {
    const { body } = request
    const connector = await requireConnector(request, reply, 'token', readOrganization(body))
    const baseUrl = readField(body, 'base_url')
    const group = readField(body, 'group')
    const filledIn = { form: 'token', baseUrl: baseUrl ?? '', group: group ?? '', app: '' } as const
    return submit(request, reply, connector, filledIn, async (caller) => {
      const token = requireToken(body, 'token')
      const { organization } = connector
      return connectAccessToken(context, { organization, baseUrl, token, group }, caller)
    })
  })

  app.post('/connect/oauth-token', { schema }, async (request, reply) => {
    const { body } = request
    const connector = await requireConnector(request, reply, 'oauth', readOrganization(body))
    const app = await chosenApp(body)
    const shown = readField(body, 'base_url') ?? app?.base_url ?? ''
    const filledIn = { form: 'oauth-token', baseUrl: shown, group: '', app: app?.slug ?? '' } as const
    return submit(request, reply, connector, filledIn, async (caller) => {
      const baseUrl = await baseUrlOf(body, app)
      const accessToken = requireToken(body, 'token')
      const refreshToken = readField(body, 'refresh_token') && requireToken(body, 'refresh_token')
      const oauthApp = refreshToken === undefined ? undefined : app?.slug
      const { organization } = connector
      const pasted = { organization, baseUrl, accessToken, refreshToken, oauthApp }
      return connectOAuthToken(context, pasted, caller)
    })
  })

  // A link, not a form: see the content security policy in routes.ts.
  app.get<{ Params: { slug: string } }>('/connect/oauth/:slug', { schema }, async (request, reply) => {
    if (!isFromOurPage(request, context.publicUrl)) return refuseCrossSite(reply)
    const connector = await requireConnector(request, reply, 'oauth', readOrganization(request.query))
    const token = await sessionTokenOf(connector, request)
    return reply.redirect(await context.startOAuth(request.params.slug, token, request, reply), 303)
  })

  const sessionTokenOf = async (
    { visitor, organization }: { visitor: Connector; organization: string },
    request: FastifyRequest,
  ): Promise<string> => {
    if (visitor.kind === 'guest') return visitor.token
    const link = {
      organization,
      returnUrl: null,
      methods: ['oauth'],
      expiresInSeconds: MEMBER_SESSION_SECONDS,
    }
    return (await createConnectSession(context, link, callerFor(visitor, request))).token
  }

  app.post('/connect/undo', { schema }, async (request, reply) => {
    const receipt = await receipts.read(request)
    const row = receipt && (await findConnection(db, receipt.connectionId))
    if (!receipt?.created || !row) throw new Problem('not_found')
    const session =
      receipt.connectSessionId === null ? undefined : await findSession(db, receipt.connectSessionId)
    const visitor = await visitors.of(request, reply)
    const accessKeyId =
      session?.access_key_id ??
      (visitor.kind === 'member' && mayActIn(visitor.principal, row.organization)
        ? visitor.principal.id
        : undefined)
    if (accessKeyId === undefined) throw new Problem('unauthorized')
    const caller = actorOf({ id: accessKeyId }, request)
    const { leftToRevoke } = await disconnect(context, row.id, { revoke: receipt.issuedToUs }, caller)
    if (session) await reopenSession(db, session.id)
    receipts.clear(reply)
    if (leftToRevoke) {
      const link = { href: leftToRevoke.where, label: texts.links.open(new URL(row.base_url).host) }
      const notice = { kind: 'done', text: texts.done.notRevoked, remedy: leftToRevoke.reason, link } as const
      return pages.message(reply, notice, 200)
    }
    return reply.redirect(at('/connect?done=undone'), 303)
  })
}
