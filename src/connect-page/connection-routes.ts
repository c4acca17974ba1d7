import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Actor, actorOf, organizationsOf, type Principal } from '../callers/principal.ts'
import { disconnect } from '../connections/disconnect.ts'
import { replaceToken } from '../connections/replace-token.ts'
import { statusOf } from '../errors/catalogue.ts'
import { notFound, Problem } from '../errors/problem.ts'
import { refusalProblem } from '../gitlab/refusal.ts'
import type { App } from '../http/server.ts'
import { rotate } from '../token-lifecycle/rotate.ts'
import { adviceForProblem } from './advice.ts'
import type { ConnectionCard } from './connection-card.ts'
import type { PageContext } from './context.ts'
import { readField, readId, requireToken } from './form-fields.ts'
import type { ConfirmKind } from './pages.ts'

const schema = { hide: true }
type Params = { Params: { id: string } }
type Own = { principal: Principal; card: ConnectionCard; caller: Actor }

/** What members do with connections that exist. */
export const registerConnectionRoutes = (app: App, context: PageContext): void => {
  const { texts, pages, visitors, at } = context

  const requireOwn = async (request: FastifyRequest<Params>, reply: FastifyReply): Promise<Own> => {
    const principal = await visitors.memberOf(request, reply)
    if (!principal) throw new Problem('unauthorized')
    const id = readId(request.params, 'id')
    const card = id === undefined ? undefined : await pages.card(id, organizationsOf(principal))
    if (!card) throw notFound('connection')
    return { principal, card, caller: actorOf(principal, request) }
  }

  const backTo = (reply: FastifyReply, done: string, id?: string) => {
    const query = new URLSearchParams({ done, ...(id === undefined ? {} : { connection_id: id }) })
    return reply.redirect(at(`/connect?${query}`), 303)
  }

  for (const kind of ['disconnect', 'replace', 'rotate'] satisfies ConfirmKind[]) {
    app.get<Params>(`/connect/connections/:id/${kind}`, { schema }, async (request, reply) => {
      const { principal, card } = await requireOwn(request, reply)
      return pages.confirm(reply, kind, principal, card)
    })
  }

  /** Does it, or shows on the page of the action why not. */
  const act = async (
    request: FastifyRequest<Params>,
    reply: FastifyReply,
    kind: ConfirmKind,
    action: (own: Own) => Promise<FastifyReply>,
  ): Promise<FastifyReply> => {
    const own = await requireOwn(request, reply)
    try {
      return await action(own)
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      const { baseUrl, group } = own.card
      const advice = adviceForProblem(error, { baseUrl, group }, texts)
      return pages.confirm(reply, kind, own.principal, own.card, advice)
    }
  }

  app.post<Params>('/connect/connections/:id/verify', { schema }, async (request, reply) => {
    const { principal, card } = await requireOwn(request, reply)
    const verdict = await context.verifier.verify(card.id)
    if (verdict.kind === 'works') return backTo(reply, 'verified', card.id)
    const problem = verdict.refusal ? refusalProblem(verdict.refusal) : new Problem('gitlab_unavailable')
    const advice = adviceForProblem(problem, { baseUrl: card.baseUrl, group: card.group }, texts)
    return pages.home(
      reply,
      { kind: 'member', principal },
      { notice: { kind: 'advice', advice }, status: statusOf(problem.code) },
    )
  })

  app.post<Params>('/connect/connections/:id/disconnect', { schema }, (request, reply) =>
    act(request, reply, 'disconnect', async ({ principal, card, caller }) => {
      const revoke = readField(request.body, 'keep') === undefined
      const { leftToRevoke } = await disconnect(context, card.id, { revoke }, caller)
      if (!leftToRevoke) return backTo(reply, revoke ? 'disconnected' : 'kept')
      const link = { href: leftToRevoke.where, label: texts.links.open(card.instance) }
      const notice = { kind: 'done', text: texts.done.notRevoked, remedy: leftToRevoke.reason, link } as const
      return pages.home(reply, { kind: 'member', principal }, { notice })
    }),
  )

  app.post<Params>('/connect/connections/:id/replace', { schema }, (request, reply) =>
    act(request, reply, 'replace', async ({ card, caller }) => {
      await replaceToken(context, card.id, requireToken(request.body, 'token'), caller)
      return backTo(reply, 'replaced', card.id)
    }),
  )

  app.post<Params>('/connect/connections/:id/rotate', { schema }, (request, reply) =>
    act(request, reply, 'rotate', async ({ card }) => {
      await rotate(context, card.id, undefined)
      return backTo(reply, 'rotated', card.id)
    }),
  )
}
