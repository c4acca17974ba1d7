import type { FastifyReply } from 'fastify'
import { organizationsOf, type Principal } from '../callers/principal.ts'
import { addSeconds, type Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { ConnectSessionRow } from '../db/tables.ts'
import { DEFAULT_BASE_URL } from '../instances/resolve-instance.ts'
import { adviceFor, type Link, newTokenLink, type ShownAdvice } from './advice.ts'
import type { Assets } from './assets.ts'
import { type ConnectionCard, toCard } from './connection-card.ts'
import type { IdentityNotice } from './identity.ts'
import {
  type ConnectionScope,
  findListed,
  type ListedConnection,
  listNeedingPerson,
  listOfferedApps,
  listUsage,
  listWorking,
} from './queries.ts'
import type { Advice, Texts } from './texts.en.ts'
import { longTime } from './times.ts'
import type { Visitor } from './visitor.ts'

export type Notice =
  | { kind: 'done'; text: string; remedy?: string | undefined; link?: Link | undefined }
  | { kind: 'advice'; advice: Advice & Partial<Pick<ShownAdvice, 'link' | 'detail'>> }
  | ({ kind: 'identity' } & IdentityNotice)

/** A form that was refused, as it was filled in; tokens never come back. */
export type RefusedForm = {
  form: 'token' | 'oauth-token'
  advice: ShownAdvice
  baseUrl: string
  group: string
  app: string
}

export type HomeOptions = {
  notice?: Notice | undefined
  refused?: RefusedForm | undefined
  /** Of the organizations of a member, the one that is shown. */
  organization?: string | undefined
  /** The id after which the list goes on. */
  before?: string | undefined
  status?: number
}

export type ConfirmKind = 'disconnect' | 'replace' | 'rotate'

type Deps = { db: Database; clock: Clock; texts: Texts; assets: Assets; prefix: string }

const OFFERED_APPS = 20
const NEEDING_LIMIT = 50
const PAGE_SIZE = 20
const USAGE_DAYS = 30
const DAY_SECONDS = 86_400
/** As in token-report.ts. */
const SOON_DAYS = 14

export const createPages = ({ db, clock, texts: t, assets, prefix }: Deps) => {
  const at = (path: string): string => prefix + path

  const render = async (reply: FastifyReply, view: string, title: string, data: object, status = 200) => {
    const model = { t, assets, at, title, visitor: { kind: 'nobody' }, ...data }
    const html = await reply.viewAsync(view, model, { layout: 'layout.eta' })
    return reply.code(status).type('text/html; charset=utf-8').send(html)
  }

  const scopeOf = (organizations: string[] | undefined): ConnectionScope => {
    const now = new Date(clock())
    return { organizations, now, soon: addSeconds(now, SOON_DAYS * DAY_SECONDS) }
  }

  const toCards = async (rows: ListedConnection[]): Promise<ConnectionCard[]> => {
    const now = new Date(clock())
    const since = addSeconds(now, -USAGE_DAYS * DAY_SECONDS)
    const usage = await listUsage(
      db,
      rows.map(({ id }) => id),
      { since, now },
    )
    return rows.map((row) => toCard(row, usage, now, t))
  }

  const connectForms = async (organization: string, methods: readonly string[]) => ({
    organization,
    allows: { oauth: methods.includes('oauth'), token: methods.includes('token') },
    apps: methods.includes('oauth') ? await listOfferedApps(db, OFFERED_APPS) : [],
    defaultBaseUrl: DEFAULT_BASE_URL,
  })

  const listFor = async (principal: Principal, chosen: string | undefined, before: string | undefined) => {
    const scope = scopeOf(chosen === undefined ? organizationsOf(principal) : [chosen])
    const rows = await listWorking(db, scope, { before, limit: PAGE_SIZE + 1 })
    const needing = before === undefined ? await listNeedingPerson(db, scope, NEEDING_LIMIT) : []
    const cards = await toCards([...needing, ...rows.slice(0, PAGE_SIZE)])
    const more = rows.length > PAGE_SIZE ? rows[PAGE_SIZE - 1]?.id : undefined
    const query = (after: string | undefined) =>
      new URLSearchParams({
        ...(chosen === undefined ? {} : { organization: chosen }),
        ...(after === undefined ? {} : { after }),
      }).toString()
    return {
      cards,
      needing: needing.length,
      moreHref: more === undefined ? undefined : `${at('/connect')}?${query(more)}`,
      firstHref: before === undefined ? undefined : `${at('/connect')}?${query(undefined)}`,
    }
  }

  const memberHome = async (principal: Principal, { organization, before }: HomeOptions) => {
    const own = organizationsOf(principal)
    const chosen = organization ?? (own?.length === 1 ? own[0] : undefined)
    return {
      visitor: { kind: 'member', name: principal.name, role: principal.role },
      // undefined = any: a key for all organizations names one by hand.
      choices: own,
      chosen,
      connected: await listFor(principal, chosen, before),
      connect: chosen === undefined ? undefined : await connectForms(chosen, ['oauth', 'token']),
    }
  }

  const guestHome = async (session: ConnectSessionRow) => ({
    visitor: {
      kind: 'guest',
      organization: session.organization,
      until: longTime(session.expires_at, t),
    },
    connect: await connectForms(session.organization, session.methods),
  })

  return {
    toCards,
    /** A connection that lies within these organizations (undefined = all). */
    async card(id: string, organizations: string[] | undefined): Promise<ConnectionCard | undefined> {
      const row = await findListed(db, scopeOf(organizations), id)
      return row && (await toCards([row]))[0]
    },
    async home(reply: FastifyReply, visitor: Exclude<Visitor, { kind: 'nobody' }>, options: HomeOptions) {
      const { notice, refused, status } = options
      const data =
        visitor.kind === 'member'
          ? await memberHome(visitor.principal, options)
          : await guestHome(visitor.session)
      // Help links to the GitLab that these people use.
      const baseUrl = data.connect?.apps[0]?.base_url
      const troubles = t.troubleshooting.codes.map((code) => adviceFor(code, { baseUrl }, t))
      const newToken = newTokenLink(refused?.baseUrl ?? '', [], t) ?? newTokenLink(DEFAULT_BASE_URL, [], t)
      return render(reply, 'home.eta', t.title, { notice, refused, troubles, newToken, ...data }, status)
    },
    signIn: (reply: FastifyReply, notice?: Notice, status = 200) =>
      render(reply, 'sign-in.eta', `${t.signIn.heading} · ${t.title}`, { notice }, status),
    confirm: (
      reply: FastifyReply,
      kind: ConfirmKind,
      principal: Principal,
      card: ConnectionCard,
      refused?: ShownAdvice,
    ) =>
      render(
        reply,
        'confirm.eta',
        `${t.connected[kind]} · ${t.title}`,
        {
          kind,
          card,
          refused,
          newToken: newTokenLink(card.baseUrl, [], t),
          visitor: { kind: 'member', name: principal.name, role: principal.role },
        },
        refused ? 422 : 200,
      ),
    /** A page that says one thing. */
    message: (reply: FastifyReply, notice: Notice, status: number, requestId?: string) =>
      render(reply, 'message.eta', t.title, { notice, requestId }, status),
  }
}

export type Pages = ReturnType<typeof createPages>
