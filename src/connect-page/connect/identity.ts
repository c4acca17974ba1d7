import { addSeconds, type Clock } from '../../clock/clock.ts'
import { resultUrl } from '../../connect-sessions/connect-session.ts'
import { findSession } from '../../connect-sessions/queries.ts'
import { RECEIPT_SECONDS, type Receipt } from '../../connect-sessions/receipt.ts'
import type { Database } from '../../db/database.ts'
import { findConnection } from '../../token-lifecycle/queries.ts'
import { type Hyperlink, instanceName } from '../advice.ts'
import { type Avatar, avatarOf } from '../avatar.ts'
import type { Texts } from '../texts.en.ts'
import type { SealedForms } from '../visit/sealed-form.ts'

/** "You connected GitLab user maria to acme. Not you?" */
export type IdentityNotice = {
  avatar: Avatar
  sentence: string
  at: string
  question: string
  /** The sealed form that undoes it; undefined = there is nothing to undo, because the connection was there before. */
  undoForm: string | undefined
  /** Where the platform expects the person. */
  proceed: Hyperlink | undefined
}

type Deps = { db: Database; clock: Clock; forms: SealedForms; publicUrl: string; texts: Texts }

/** Whose account this browser has just connected; undefined when it is gone already. */
export const describeIdentity = async (
  { db, clock, forms, publicUrl, texts: t }: Deps,
  receipt: Receipt,
): Promise<IdentityNotice | undefined> => {
  const row = await findConnection(db, receipt.connectionId)
  if (!row) return undefined
  const session =
    receipt.connectSessionId === null ? undefined : await findSession(db, receipt.connectSessionId)
  const who = row.gitlab_username ?? row.gitlab_name ?? row.gitlab_user_id
  const sentence = receipt.created ? t.identity.sentence : t.identity.known
  return {
    avatar: avatarOf(row.gitlab_name ?? who),
    sentence: sentence(who, row.organization),
    at: t.identity.at(instanceName(row.base_url), t.kinds[row.token_kind]),
    question: t.identity.question(who),
    undoForm: receipt.created
      ? await forms.seal({ for: 'undoing', receipt }, addSeconds(new Date(clock()), RECEIPT_SECONDS))
      : undefined,
    proceed: session?.return_url
      ? {
          href: resultUrl({ status: 'connected', connectionId: row.id }, publicUrl, session.return_url),
          label: t.identity.proceed(new URL(session.return_url).host),
        }
      : undefined,
  }
}
