import type { FastifyReply } from 'fastify'
import type { Principal } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { ConnectionCard } from './accounts/connection-card.ts'
import { newTokenLink, type ShownAdvice } from './advice.ts'
import type { Assets } from './assets.ts'
import { describeHome, type HomeOptions } from './home.ts'
import type { Notice } from './notice.ts'
import type { Texts } from './texts.en.ts'
import type { Visitor } from './visit/visitor.ts'

export type ConfirmKind = 'disconnect' | 'replace' | 'rotate'

type Deps = { db: Database; clock: Clock; texts: Texts; assets: Assets; at(path: string): string }

/** Every page as an answer. */
export const createPages = ({ db, clock, texts: t, assets, at }: Deps) => {
  const render = async (reply: FastifyReply, view: string, title: string, data: object, status = 200) => {
    const model = { t, assets, at, title, visitor: { kind: 'nobody' }, ...data }
    const html = await reply.viewAsync(view, model, { layout: 'layout.eta' })
    return reply.code(status).type('text/html; charset=utf-8').send(html)
  }

  return {
    async home(reply: FastifyReply, visitor: Exclude<Visitor, { kind: 'nobody' }>, options: HomeOptions) {
      const data = await describeHome({ db, clock, texts: t, at }, visitor, options)
      return render(reply, 'home.eta', t.title, data, options.status)
    },
    signIn: (reply: FastifyReply, notice?: Notice, status = 200) =>
      render(reply, 'sign-in.eta', `${t.signIn.heading} · ${t.title}`, { notice }, status),
    /** Asks before something is done to an account. */
    confirm(
      reply: FastifyReply,
      kind: ConfirmKind,
      principal: Principal,
      card: ConnectionCard,
      refused?: ShownAdvice,
    ) {
      const visitor = { kind: 'member', name: principal.name, role: principal.role }
      const data = { kind, card, refused, newToken: newTokenLink(card.baseUrl, [], t), visitor }
      return render(reply, 'confirm.eta', `${t.connected[kind]} · ${t.title}`, data, refused ? 422 : 200)
    },
    /** A page that says one thing. */
    message: (reply: FastifyReply, notice: Notice, status: number, requestId?: string) =>
      render(reply, 'message.eta', t.title, { notice, requestId }, status),
  }
}

export type Pages = ReturnType<typeof createPages>
