import { findPrincipal } from '../access-keys/identify.ts'
import type { Principal } from '../callers/principal.ts'
import type { Database } from '../db/database.ts'
import type { ConnectSessionRow } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { hashSessionToken, type LinkEnd, linkEnd } from './connect-session.ts'
import { findSession, findSessionByToken } from './queries.ts'

/** A connect link that can be used now, and the access key in whose name it works. */
export type OpenLink = { session: ConnectSessionRow; maker: Principal }

export type FoundLink = { ended: undefined; link: OpenLink } | { ended: LinkEnd; session?: ConnectSessionRow }

/**
 * Reads a connect session and the access key that made it: a link ends with its key. To be asked at each use.
 * @param by the token of the link, or the id of the session.
 */
export const findLink = async (
  db: Database,
  by: { token: string } | { id: string },
  now: Date,
): Promise<FoundLink> => {
  const session =
    'id' in by ? await findSession(db, by.id) : await findSessionByToken(db, hashSessionToken(by.token))
  const maker = session && (await findPrincipal(db, session.access_key_id))
  const ended = linkEnd(session, maker, now)
  if (ended !== undefined) return session ? { ended, session } : { ended }
  return { ended: undefined, link: { session: session!, maker: maker! } }
}

/** @throws {Problem} session_expired, with the reason as the member `link_end` */
export const requireLink = async (
  db: Database,
  by: { token: string } | { id: string },
  now: Date,
): Promise<OpenLink> => {
  const found = await findLink(db, by, now)
  if (found.ended !== undefined) throw linkProblem(found.ended)
  return found.link
}

const SENTENCES: Record<LinkEnd | 'tried_too_often', string> = {
  used: 'This link was used. Ask for a new one.',
  ended: 'This link was ended by whoever made it. Ask for a new one.',
  expired: 'This link has expired. Ask for a new one.',
  withdrawn:
    'The access key that made this link was deleted, has expired or was changed. Ask for a new link.',
  unknown: 'This link does not exist. Ask for a new one.',
  tried_too_often: 'This link has started too many sign-ins at GitLab. Ask for a new one.',
}

export const linkProblem = (end: keyof typeof SENTENCES): Problem =>
  new Problem('session_expired', SENTENCES[end], { members: { link_end: end } })
