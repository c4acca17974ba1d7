import { organizationsOf, type Principal } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { ConnectSessionRow } from '../db/tables.ts'
import { DEFAULT_BASE_URL } from '../instances/resolve-instance.ts'
import { listAccounts } from './accounts/list-accounts.ts'
import { adviceFor, newTokenLink, type ShownAdvice } from './advice.ts'
import { listOfferedApps } from './connect/queries.ts'
import type { Notice } from './notice.ts'
import type { Texts } from './texts.en.ts'
import { longTime } from './times.ts'
import type { Visitor } from './visit/visitor.ts'

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

type Deps = { db: Database; clock: Clock; texts: Texts; at(path: string): string }

const OFFERED_APPS = 20

/** What the template of the first page shows to a guest or a member. */
export const describeHome = async (
  deps: Deps,
  visitor: Exclude<Visitor, { kind: 'nobody' }>,
  options: HomeOptions,
) => {
  const { texts } = deps
  const { notice, refused } = options
  const data =
    visitor.kind === 'member'
      ? await memberHome(deps, visitor.principal, options)
      : await guestHome(deps, visitor.session)
  // Help links to the GitLab that these people use.
  const baseUrl = data.connect?.apps[0]?.base_url
  const troubles = texts.troubleshooting.codes.map((code) => adviceFor(code, { baseUrl }, texts))
  const newToken =
    newTokenLink(refused?.baseUrl ?? '', [], texts) ?? newTokenLink(DEFAULT_BASE_URL, [], texts)
  return { notice, refused, troubles, newToken, ...data }
}

const memberHome = async (deps: Deps, principal: Principal, { organization, before }: HomeOptions) => {
  const own = organizationsOf(principal)
  const chosen = organization ?? (own?.length === 1 ? own[0] : undefined)
  const { cards, needing, next } = await listAccounts(deps, principal, { organization: chosen, before })
  const hrefOf = (after: string | undefined) =>
    `${deps.at('/connect')}?${new URLSearchParams({
      ...(chosen === undefined ? {} : { organization: chosen }),
      ...(after === undefined ? {} : { after }),
    })}`
  return {
    visitor: { kind: 'member', name: principal.name, role: principal.role },
    // undefined = any: a key for all organizations names one by hand.
    choices: own,
    chosen,
    connected: {
      cards,
      needing,
      moreHref: next === undefined ? undefined : hrefOf(next),
      firstHref: before === undefined ? undefined : hrefOf(undefined),
    },
    connect: chosen === undefined ? undefined : await connectForms(deps, chosen, ['oauth', 'token']),
  }
}

const guestHome = async (deps: Deps, session: ConnectSessionRow) => ({
  visitor: {
    kind: 'guest',
    organization: session.organization,
    until: longTime(session.expires_at, deps.texts),
  },
  connect: await connectForms(deps, session.organization, session.methods),
})

const connectForms = async ({ db }: Deps, organization: string, methods: readonly string[]) => ({
  organization,
  allows: { oauth: methods.includes('oauth'), token: methods.includes('token') },
  apps: methods.includes('oauth') ? await listOfferedApps(db, OFFERED_APPS) : [],
  defaultBaseUrl: DEFAULT_BASE_URL,
})
