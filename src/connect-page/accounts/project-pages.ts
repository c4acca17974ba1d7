import type { FastifyReply, FastifyRequest } from 'fastify'
import { statusOf } from '../../errors/catalogue.ts'
import { notFound, Problem } from '../../errors/problem.ts'
import type { App } from '../../http/server.ts'
import { startSync } from '../../projects/sync/start-sync.ts'
import { findConnection } from '../../token-lifecycle/queries.ts'
import { adviceForProblem } from '../advice.ts'
import type { PageContext } from '../context.ts'
import { readField } from '../form-fields.ts'
import { describeReached } from './reached-page.ts'
import { requireOwn } from './routes.ts'

const schema = { hide: true }
type Params = { Params: { id: string } }

const LONGEST_SEARCH = 200
const ID = /^[1-9]\d{0,15}$/

/** What an account reaches at GitLab: the list, and the button that reads it anew. */
export const registerProjectPages = (app: App, context: PageContext): void => {
  const { db, pages, at, texts } = context

  /** The page asks for itself, which is nobody's doing: it prolongs no sign-in. */
  const onSend = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    if (request.headers['hx-request'] === 'true') reply.removeHeader('set-cookie')
  }

  app.get<Params>('/connect/connections/:id/projects', { schema, onSend }, async (request, reply) => {
    const { principal, card } = await requireOwn(context, request, reply)
    const after = readField(request.query, 'after')
    const reached = await describeReached(context, card, {
      search: readField(request.query, 'search')?.slice(0, LONGEST_SEARCH),
      after: after !== undefined && ID.test(after) ? after : undefined,
    })
    return pages.projects(reply, principal, card, reached)
  })

  app.post<Params>('/connect/connections/:id/sync', { schema }, async (request, reply) => {
    const { principal, card } = await requireOwn(context, request, reply)
    const connection = await findConnection(db, card.id)
    if (!connection) throw notFound('connection')
    try {
      await startSync(context, connection)
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      const advice = adviceForProblem(error, { baseUrl: card.baseUrl, group: card.group }, texts)
      const notice = { kind: 'advice', advice } as const
      return pages.home(reply, { kind: 'member', principal }, { notice, status: statusOf(error.code) })
    }
    return reply.redirect(at(`/connect/connections/${card.id}/projects`), 303)
  })
}
