import type { FastifyReply, FastifyRequest } from 'fastify'
import { mayActIn } from '../../callers/principal.ts'
import { addSeconds, type Clock } from '../../clock/clock.ts'
import { requireLink } from '../../connect-sessions/find-link.ts'
import type { Receipt } from '../../connect-sessions/receipt.ts'
import { createSealer } from '../../connect-sessions/sealer.ts'
import type { Database } from '../../db/database.ts'
import { Problem } from '../../errors/problem.ts'
import type { Vault } from '../../vault/vault.ts'
import { readField, readOrganization } from '../form-fields.ts'
import type { Guest, Member, Visitors } from './visitor.ts'

/**
 * What a form was shown for. It stands in the form itself, sealed, as the hidden field `session`: so what the page
 * shows is what happens, whatever else this browser has opened since.
 */
export type FormContent =
  | { for: 'guest'; connectSessionId: string; organization: string }
  | { for: 'member'; accessKeyId: string; organization: string | null; connectionId: string | null }
  /** The question whether to open a link. */
  | { for: 'opening'; token: string }
  /** The question whether to connect an account that another organization has connected too. */
  | { for: 'confirming'; authorizationId: string }
  | { for: 'undoing'; receipt: Receipt }

type Kind = FormContent['for']
type ContentOf<Name extends Kind> = Extract<FormContent, { for: Name }>

export type SealedForms = {
  seal(content: FormContent, until?: Date): Promise<string>
  /** For the forms of a visitor. @param about the organization, and the connection, that the form is about. */
  sealFor(
    visitor: Guest | Member,
    about?: { organization?: string | undefined; connectionId?: string },
  ): Promise<string>
  /** @throws {Problem} forbidden, when the form is missing, damaged, too old, or of another kind */
  open<Name extends Kind>(body: unknown, ...kinds: Name[]): Promise<ContentOf<Name>>
}

const FIELD = 'session'
/** Longer than any link or sign-in: what has ended is refused for that reason, not for the age of the page. */
const SHOWN_SECONDS = 48 * 60 * 60

export const createSealedForms = (deps: { vault: Vault; clock: Clock }): SealedForms => {
  const sealer = createSealer<FormContent>(deps, 'connect-form', 'form')
  const seal = (content: FormContent, until?: Date) =>
    sealer.seal(content, until ?? addSeconds(new Date(deps.clock()), SHOWN_SECONDS))
  return {
    seal,
    sealFor(visitor, { organization, connectionId } = {}) {
      if (visitor.kind === 'guest') {
        const { session } = visitor.link
        const content = { connectSessionId: session.id, organization: session.organization }
        return seal({ for: 'guest', ...content })
      }
      const about = { organization: organization ?? null, connectionId: connectionId ?? null }
      return seal({ for: 'member', accessKeyId: visitor.principal.id, ...about })
    },
    async open<Name extends Kind>(body: unknown, ...kinds: Name[]) {
      const text = readField(body, FIELD)
      const content = text === undefined ? undefined : await sealer.open(text)
      if (!content || !kinds.some((kind) => kind === content.for)) throw outdatedPage()
      return content as ContentOf<Name>
    },
  }
}

/** The page that sent a form no longer shows what is so. */
export const outdatedPage = (): Problem =>
  new Problem(
    'forbidden',
    'The page that sent this is out of date: somebody has signed in or out since, or it shows another organization.',
    { members: { page: 'outdated' } },
  )

type Deps = { db: Database; clock: Clock; visitors: Visitors; forms: SealedForms }

/** Who sent a form, as the page showed them, and what it is about. */
export type Sender = (
  | { visitor: Guest; organization: string }
  | { visitor: Member; organization: string | null }
) & { connectionId: string | null }

/**
 * Holds a form against what is so now: the link still works, or the same access key is signed in and may act in the
 * organization that the page named.
 * @throws {Problem} forbidden (the page is out of date), session_expired, unauthorized
 */
export const requireSender = async (
  { db, clock, visitors, forms }: Deps,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<Sender> => {
  const form = await forms.open(request.body, 'guest', 'member')
  const named = readOrganization(request.body)
  if (named !== undefined && named !== form.organization) throw outdatedPage()
  if (form.for === 'guest') {
    const link = await requireLink(db, { id: form.connectSessionId }, new Date(clock()))
    return { visitor: { kind: 'guest', link }, organization: form.organization, connectionId: null }
  }
  const principal = await visitors.memberOf(request, reply)
  if (!principal) throw new Problem('unauthorized')
  if (principal.id !== form.accessKeyId) throw outdatedPage()
  const { organization, connectionId } = form
  if (organization !== null && !mayActIn(principal, organization)) throw new Problem('forbidden')
  return { visitor: { kind: 'member', principal }, organization, connectionId }
}
