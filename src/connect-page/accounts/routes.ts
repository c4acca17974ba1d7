import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Actor, actorOf, type Principal } from '../../callers/principal.ts'
import { disconnect } from '../../connections/disconnect.ts'
import { replaceToken } from '../../connections/replace-token.ts'
import { OtherIdentity } from '../../connections/take-over.ts'
import { statusOf } from '../../errors/catalogue.ts'
import { notFound, Problem } from '../../errors/problem.ts'
import { refusalProblem } from '../../gitlab/refusal.ts'
import type { App } from '../../http/server.ts'
import { rotate } from '../../token-lifecycle/rotate.ts'
import { adviceForProblem } from '../advice.ts'
import { describeStranger } from '../connect/question.ts'
import type { PageContext } from '../context.ts'
import { readField, readId, requireField } from '../form-fields.ts'
import type { ConfirmKind } from '../pages.ts'
import { outdatedPage, requireSender } from '../visit/sealed-form.ts'
import type { ConnectionCard } from './connection-card.ts'
import { findAccount } from './list-accounts.ts'

const schema = { hide: true }
type Params = { Params: { id: string } }
type Own = { principal: Principal; card: ConnectionCard; actor: Actor }
type Action = (own: Own, request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply>

/** What members do with connections that exist. */
export const registerAccountRoutes = (app: App, context: PageContext): void => {
  app.post<Params>('/connect/connections/:id/verify', { schema }, async (request, reply) =>
    verify(context, await requireOwn(context, request, reply), reply),
  )
  const actions: Record<ConfirmKind, Action> = {
    disconnect: disconnectAccount(context),
    replace: async ({ card, actor }, { body }, reply) => {
      const accepted = readField(body, 'accept_identity') ?? false
      await replaceToken(context, card.id, requireField(body, 'token'), actor, accepted)
      return backTo(context, reply, 'replaced', card.id)
    },
    rotate: async ({ card }, _request, reply) => {
      await rotate(context, card.id, undefined)
      return backTo(context, reply, 'rotated', card.id)
    },
  }
  for (const [kind, action] of Object.entries(actions) as [ConfirmKind, Action][]) {
    app.get<Params>(`/connect/connections/:id/${kind}`, { schema }, async (request, reply) => {
      const { principal, card } = await requireOwn(context, request, reply)
      return context.pages.confirm(reply, kind, principal, card)
    })
    app.post<Params>(`/connect/connections/:id/${kind}`, { schema }, (request, reply) =>
      act(context, request, reply, kind, action),
    )
  }
}

/** Who is signed in; for a form also: as the page showed it, and for this connection. */
const requireMember = async (
  context: PageContext,
  request: FastifyRequest<Params>,
  reply: FastifyReply,
  connectionId: string | undefined,
): Promise<Principal> => {
  if (request.method === 'POST') {
    const sender = await requireSender(context, request, reply)
    if (sender.visitor.kind !== 'member' || sender.connectionId !== connectionId) throw outdatedPage()
    return sender.visitor.principal
  }
  const principal = await context.visitors.memberOf(request, reply)
  if (!principal) throw new Problem('unauthorized')
  return principal
}

/** @throws {Problem} unauthorized, not_found, forbidden (the page is out of date) */
export const requireOwn = async (
  context: PageContext,
  request: FastifyRequest<Params>,
  reply: FastifyReply,
): Promise<Own> => {
  const id = readId(request.params, 'id')
  const principal = await requireMember(context, request, reply, id)
  const card = id === undefined ? undefined : await findAccount(context, principal, id)
  if (!card) throw notFound('connection')
  return { principal, card, actor: actorOf(principal, request) }
}

const backTo = ({ at }: PageContext, reply: FastifyReply, done: string, id?: string) => {
  const query = new URLSearchParams({ done, ...(id === undefined ? {} : { connection_id: id }) })
  return reply.redirect(at(`/connect?${query}`), 303)
}

/** Does it, or shows on the page of the action why not. */
const act = async (
  context: PageContext,
  request: FastifyRequest<Params>,
  reply: FastifyReply,
  kind: ConfirmKind,
  action: Action,
): Promise<FastifyReply> => {
  const own = await requireOwn(context, request, reply)
  try {
    return await action(own, request, reply)
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    if (error instanceof OtherIdentity) {
      const stranger = describeStranger(error, own.card.organization, context.texts)
      return context.pages.confirm(reply, kind, own.principal, own.card, undefined, stranger)
    }
    const { baseUrl, group } = own.card
    const advice = adviceForProblem(error, { baseUrl, group }, context.texts)
    return context.pages.confirm(reply, kind, own.principal, own.card, advice)
  }
}

const verify = async (
  context: PageContext,
  { principal, card }: Own,
  reply: FastifyReply,
): Promise<FastifyReply> => {
  const verdict = await context.verifier.verify(card.id)
  if (verdict.kind === 'works') return backTo(context, reply, 'verified', card.id)
  const problem = verdict.refusal ? refusalProblem(verdict.refusal) : new Problem('gitlab_unavailable')
  const advice = adviceForProblem(problem, { baseUrl: card.baseUrl, group: card.group }, context.texts)
  const notice = { kind: 'advice', advice } as const
  return context.pages.home(reply, { kind: 'member', principal }, { notice, status: statusOf(problem.code) })
}

const disconnectAccount =
  (context: PageContext): Action =>
  async ({ principal, card, actor }, { body }, reply) => {
    const { texts, pages } = context
    const revoke = readField(body, 'keep') === undefined
    const { leftToRevoke } = await disconnect(context, card.id, { revoke }, actor)
    if (!leftToRevoke) return backTo(context, reply, revoke ? 'disconnected' : 'kept')
    const link = { href: leftToRevoke.where, label: texts.links.open(card.instance) }
    const notice = { kind: 'done', text: texts.done.notRevoked, remedy: leftToRevoke.reason, link } as const
    return pages.home(reply, { kind: 'member', principal }, { notice })
  }
