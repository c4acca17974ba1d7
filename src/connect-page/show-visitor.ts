import type { Texts } from './texts.en.ts'
import { longTime } from './times.ts'
import type { SealedForms } from './visit/sealed-form.ts'
import type { Guest, Member } from './visit/visitor.ts'

/** Who looks at a page, as its head shows it; with the sealed form of "Sign out" or "Leave this link". */
export type ShownVisitor =
  | { kind: 'nobody' }
  | { kind: 'member'; name: string; role: string; form: string }
  | { kind: 'guest'; organization: string; until: string; maker: string; form: string; lead: string }

export const showVisitor = async (
  { forms, texts }: { forms: SealedForms; texts: Texts },
  visitor: Guest | Member,
  /** Whose account the link reconnects; undefined = it connects anew. */
  reconnects?: string,
): Promise<Exclude<ShownVisitor, { kind: 'nobody' }>> => {
  const form = await forms.sealFor(visitor)
  if (visitor.kind === 'member') {
    const { name, role } = visitor.principal
    return { kind: 'member', name, role, form }
  }
  const { session, maker } = visitor.link
  const until = longTime(session.expires_at, texts)
  const { organization } = session
  const lead = reconnects
    ? texts.visitor.reconnectLead(reconnects, organization)
    : texts.visitor.guestLead(organization)
  return { kind: 'guest', organization, until, maker: maker.name, form, lead }
}
