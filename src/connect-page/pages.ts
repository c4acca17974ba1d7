import type { FastifyReply } from 'fastify'
import type { Principal } from '../callers/principal.ts'
import type { LinkEnd } from '../connect-sessions/connect-session.ts'
import type { OpenLink } from '../connect-sessions/find-link.ts'
import type { ConnectionCard } from './accounts/connection-card.ts'
import type { ReachedPage } from './accounts/reached-page.ts'
import { newTokenLink, type ShownAdvice } from './advice.ts'
import type { Assets } from './assets.ts'
import { describeQuestion, type Question, type StrangerQuestion } from './connect/question.ts'
import { describeDevice, type ShownDevice } from './connect/shown-device.ts'
import { describeHome, type HomeDeps, type HomeOptions } from './home.ts'
import type { Notice } from './notice.ts'
import { contentSecurityPolicy } from './security-policy.ts'
import { showVisitor } from './show-visitor.ts'
import type { Guest, Member } from './visit/visitor.ts'

export type ConfirmKind = 'disconnect' | 'replace' | 'rotate'

const GONE = 410

type Deps = HomeDeps & { assets: Assets; publicUrl: string }

const describeConfirm = async (deps: Deps, kind: ConfirmKind, principal: Principal, card: ConnectionCard) => {
  const member = { kind: 'member', principal } as const
  const about = { organization: card.organization, connectionId: card.id }
  return {
    kind,
    card,
    form: await deps.forms.sealFor(member, about),
    newToken: newTokenLink(card.baseUrl, [], deps.texts),
    visitor: await showVisitor(deps, member),
  }
}

/** Every page as an answer. */
export const createPages = (deps: Deps) => {
  const { forms, texts: t, assets, publicUrl, at } = deps

  const render = async (reply: FastifyReply, view: string, title: string, data: Data, status = 200) => {
    const model = { t, assets, at, publicUrl, title, visitor: { kind: 'nobody' }, ...data }
    const html = await reply.viewAsync(view, model, { layout: 'layout.eta' })
    return reply
      .code(status)
      .header('content-security-policy', contentSecurityPolicy(data.formsLeadTo))
      .type('text/html; charset=utf-8')
      .send(html)
  }

  /** A page that says one thing. */
  const message = (reply: FastifyReply, notice: Notice, status: number, requestId?: string) =>
    render(reply, 'message.eta', t.title, { notice, requestId }, status)

  return {
    async home(reply: FastifyReply, visitor: Guest | Member, options: HomeOptions) {
      const data = await describeHome(deps, visitor, options)
      return render(reply, 'home.eta', t.title, data, options.status)
    },
    signIn: (reply: FastifyReply, notice?: Notice, status = 200) =>
      render(reply, 'sign-in.eta', `${t.signIn.heading} · ${t.title}`, { notice }, status),
    /** Asks before something is done to an account. */
    async confirm(
      reply: FastifyReply,
      kind: ConfirmKind,
      principal: Principal,
      card: ConnectionCard,
      refused?: ShownAdvice,
      /** Whose place the token would take: the person says yes beside the field. */
      stranger?: StrangerQuestion,
    ) {
      const data = { ...(await describeConfirm(deps, kind, principal, card)), refused, stranger }
      const title = `${t.connected[kind]} · ${t.title}`
      return render(reply, 'confirm.eta', title, data, refused || stranger ? 422 : 200)
    },
    projects: createProjectsPage(deps, render),
    /** Asks before a link is opened in a browser in which somebody is signed in, or many links are open. */
    async openLink(reply: FastifyReply, token: string, { session, maker }: OpenLink, member?: Principal) {
      const data = {
        organization: session.organization,
        maker: maker.name,
        member: member && { name: member.name, role: member.role },
        form: await forms.seal({ for: 'opening', token }),
      }
      return render(reply, 'open-link.eta', `${t.opening.heading(session.organization)} · ${t.title}`, data)
    },
    question: createQuestionPage(deps, render),
    /** The code that a person enters at GitLab. */
    device(reply: FastifyReply, shown: ShownDevice, href: string) {
      const device = describeDevice(shown, href, t)
      return render(reply, 'device.eta', `${t.device.title} · ${t.title}`, { device })
    },
    endedLink: (reply: FastifyReply, ended: LinkEnd) =>
      message(reply, { kind: 'advice', advice: t.ended[ended] }, GONE),
    message,
  }
}

type Data = { formsLeadTo?: string[]; [name: string]: unknown }
type Render = (reply: FastifyReply, view: string, title: string, data: Data) => Promise<FastifyReply>

/** What an account reaches at GitLab. */
const createProjectsPage =
  (deps: Deps, render: Render) =>
  async (reply: FastifyReply, principal: Principal, card: ConnectionCard, reached: ReachedPage) => {
    const member = { kind: 'member', principal } as const
    const about = { organization: card.organization, connectionId: card.id }
    const data = {
      card,
      reached,
      form: await deps.forms.sealFor(member, about),
      visitor: await showVisitor(deps, member),
    }
    const { projects, title } = deps.texts
    return render(reply, 'projects.eta', `${projects.heading(card.who)} · ${title}`, data)
  }

/** Asks before an account is connected that another organization has connected too. */
const createQuestionPage =
  ({ forms, texts }: Deps, render: Render) =>
  async (reply: FastifyReply, authorizationId: string, question: Question) => {
    const data = {
      question: describeQuestion(question, texts),
      form: await forms.seal({ for: 'confirming', authorizationId }),
      formsLeadTo: question.returnUrl === null ? [] : [question.returnUrl],
    }
    return render(reply, 'question.eta', `${texts.question.title} · ${texts.title}`, data)
  }

export type Pages = ReturnType<typeof createPages>
