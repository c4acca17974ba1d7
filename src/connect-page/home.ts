import { organizationsOf } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import { METHODS } from '../connect-sessions/connect-session.ts'
import type { Database } from '../db/database.ts'
import { DEFAULT_BASE_URL } from '../instances/resolve-instance.ts'
import { findConnection } from '../token-lifecycle/queries.ts'
import { listAccounts } from './accounts/list-accounts.ts'
import { adviceFor, newTokenLink, type ShownAdvice } from './advice.ts'
import type { HostQuestion } from './connect/named-server.ts'
import { listOfferedApps, type OfferedApp } from './connect/queries.ts'
import type { StrangerQuestion } from './connect/question.ts'
import type { Notice } from './notice.ts'
import { showVisitor } from './show-visitor.ts'
import type { Texts } from './texts.en.ts'
import type { SealedForms } from './visit/sealed-form.ts'
import type { Guest, Member } from './visit/visitor.ts'

/** A form that was refused, as it was filled in; tokens never come back. */
export type RefusedForm = {
  form: 'token' | 'oauth-token'
  /** Why it was refused, the server that the person has to name before the token goes there, or whose place it would take. */
  answer: { advice: ShownAdvice } | { question: HostQuestion } | { stranger: StrangerQuestion }
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

export type HomeDeps = {
  db: Database
  clock: Clock
  forms: SealedForms
  texts: Texts
  at(path: string): string
}

const OFFERED_APPS = 20

/** What the template of the first page shows to a guest or a member. */
export const describeHome = async (deps: HomeDeps, visitor: Guest | Member, options: HomeOptions) => {
  const { texts } = deps
  const { notice, refused } = options
  const data =
    visitor.kind === 'member'
      ? await memberHome(deps, visitor, options)
      : { connected: undefined, connect: await guestForms(deps, visitor) }
  const { connect, connected } = data
  // Help links to the GitLab that these people use.
  const baseUrl = connect?.apps[0]?.base_url
  const troubles = texts.troubleshooting.codes.map((code) => adviceFor(code, { baseUrl }, texts))
  const newToken =
    newTokenLink(refused?.baseUrl ?? '', [], texts) ?? newTokenLink(DEFAULT_BASE_URL, [], texts)
  const session = visitor.kind === 'guest' ? visitor.link.session : undefined
  const reconnected = session?.connection_id ? await findListedHolder(deps, session.connection_id) : undefined
  return {
    ...data,
    visitor: await showVisitor(deps, visitor, reconnected),
    notice,
    refused,
    troubles,
    newToken,
    /** Where forms of this page lead by redirects: to GitLab, and from there to the platform. */
    formsLeadTo: [
      ...(connect?.apps ?? []).map(({ base_url }) => base_url),
      ...(connected?.cards ?? []).flatMap((card) => (card.reconnectBy ? [card.baseUrl] : [])),
      ...(session?.return_url && connect?.apps.length ? [session.return_url] : []),
    ],
  }
}

const memberHome = async (deps: HomeDeps, visitor: Member, { organization, before }: HomeOptions) => {
  const { principal } = visitor
  const own = organizationsOf(principal)
  const chosen = organization ?? (own?.length === 1 ? own[0] : undefined)
  const page = await listAccounts(deps, principal, { organization: chosen, before })
  const cards = await Promise.all(
    page.cards.map(async (card) => ({
      ...card,
      form: await deps.forms.sealFor(visitor, { organization: card.organization, connectionId: card.id }),
    })),
  )
  const hrefOf = (after: string | undefined) =>
    `${deps.at('/connect')}?${new URLSearchParams({
      ...(chosen === undefined ? {} : { organization: chosen }),
      ...(after === undefined ? {} : { after }),
    })}`
  return {
    // undefined = any: a key for all organizations names one by hand.
    choices: own,
    chosen,
    connected: {
      cards,
      needing: page.needing,
      moreHref: page.next === undefined ? undefined : hrefOf(page.next),
      firstHref: before === undefined ? undefined : hrefOf(undefined),
    },
    connect:
      chosen === undefined ? undefined : await connectForms(deps, visitor, chosen, METHODS, principal.name),
  }
}

/** Whose connection it is, for people. */
const findListedHolder = async ({ db }: HomeDeps, connectionId: string): Promise<string | undefined> => {
  const row = await findConnection(db, connectionId)
  return row && (row.gitlab_username ?? row.gitlab_name ?? row.gitlab_user_id)
}

const guestForms = (deps: HomeDeps, visitor: Guest) => {
  const { session, maker } = visitor.link
  const { organization, methods, base_url, connection_id, group_path } = session
  const fixed = { baseUrl: base_url, hasGroup: connection_id !== null || group_path !== null }
  return connectForms(deps, visitor, organization, methods, maker.name, fixed)
}

/** What the link has settled, so that the person is not asked. */
type Settled = { baseUrl: string | null; hasGroup: boolean }

const connectForms = async (
  { db, forms, texts }: HomeDeps,
  visitor: Guest | Member,
  organization: string,
  methods: readonly string[],
  /** The name of the access key that asks. */
  asker: string,
  settled: Settled = { baseUrl: null, hasGroup: false },
) => {
  const apps =
    methods.includes('oauth') || methods.includes('device')
      ? await listOfferedApps(db, OFFERED_APPS, settled.baseUrl)
      : []
  return {
    organization,
    asker,
    form: await forms.sealFor(visitor, { organization }),
    settled,
    allows: {
      oauth: methods.includes('oauth'),
      device: methods.includes('device'),
      token: methods.includes('token'),
    },
    apps: apps.map((app) => ({ ...app, permissions: inWords(app, texts) })),
    suggestedBaseUrls: [...new Set([...apps.map(({ base_url }) => base_url), DEFAULT_BASE_URL])],
  }
}

/** What an app asks of GitLab, for people; a scope that no text knows is told by its name. */
const inWords = ({ scopes }: OfferedApp, { scopes: words }: Texts): { scope: string; words: string }[] =>
  scopes.map((scope) => ({ scope, words: Object.hasOwn(words, scope) ? (words[scope] ?? '') : '' }))
