import type { FastifyReply, FastifyRequest } from 'fastify'
import { findPrincipal } from '../../access-keys/identify.ts'
import { hasRole, isExpired, mayActIn, type Principal } from '../../callers/principal.ts'
import { addSeconds, type Clock } from '../../clock/clock.ts'
import { hashSessionToken } from '../../connect-sessions/connect-session.ts'
import { findSessionByToken } from '../../connect-sessions/queries.ts'
import { createSealedCookie, type SealedCookieDeps } from '../../connect-sessions/sealed-cookie.ts'
import type { Database } from '../../db/database.ts'
import type { ConnectSessionRow } from '../../db/tables.ts'

/** Who looks at the page. */
export type Visitor =
  | { kind: 'nobody'; ended?: LinkEnd | undefined }
  /** With a connect link: one organization, its methods, once. */
  | { kind: 'guest'; session: ConnectSessionRow; token: string }
  /** Signed in with an access key. */
  | { kind: 'member'; principal: Principal }

/** Why a connect link no longer works. */
export type LinkEnd = 'used' | 'expired' | 'unknown'

export const linkEnd = (session: ConnectSessionRow | undefined, now: Date): LinkEnd | undefined => {
  if (!session) return 'unknown'
  if (session.used_at !== null) return 'used'
  return session.expires_at <= now ? 'expired' : undefined
}

const IDLE_SECONDS = 30 * 60
const LONGEST_SECONDS = 12 * 60 * 60
/** A new cookie once a minute is often enough to notice idleness. */
const RENEW_AFTER_SECONDS = 60

const REMEMBERED_SECONDS = 24 * 60 * 60

type SignIn = { accessKeyId: string; startedAt: number; seenAt: number }
type OpenedLink = { token: string }

export type Visitors = {
  of(request: FastifyRequest, reply: FastifyReply): Promise<Visitor>
  /** Who is signed in, whatever link is open in another tab; undefined when nobody is. */
  memberOf(request: FastifyRequest, reply: FastifyReply): Promise<Principal | undefined>
  signIn(reply: FastifyReply, principal: Principal): Promise<void>
  signOut(reply: FastifyReply): void
  /** Keeps a connect link, so that its token need not stay in the address bar. */
  enter(reply: FastifyReply, session: ConnectSessionRow, token: string): Promise<void>
  leave(reply: FastifyReply): void
}

type Deps = SealedCookieDeps & { db: Database; clock: Clock }

export const createVisitors = (deps: Deps): Visitors => {
  const { db, clock } = deps
  const signIns = createSealedCookie<SignIn>(deps, 'connect-sign-in')
  const links = createSealedCookie<OpenedLink>(deps, 'connect-link')

  const write = (reply: FastifyReply, signIn: SignIn) => {
    const { startedAt, seenAt } = signIn
    const until = Math.min(seenAt + IDLE_SECONDS * 1000, startedAt + LONGEST_SECONDS * 1000)
    return signIns.write(reply, signIn, new Date(until))
  }

  // The cookie of a used link stays: when its use is undone, it works again.
  const findGuest = async (request: FastifyRequest): Promise<Visitor> => {
    const link = await links.read(request)
    if (!link) return { kind: 'nobody' }
    const session = await findSessionByToken(db, hashSessionToken(link.token))
    const ended = linkEnd(session, new Date(clock()))
    return session && !ended ? { kind: 'guest', session, token: link.token } : { kind: 'nobody', ended }
  }

  /** The key is read anew each time: deleting it, or taking organizations from it, works at once. */
  const findMember = async (request: FastifyRequest, reply: FastifyReply): Promise<Principal | undefined> => {
    const signIn = await signIns.read(request)
    if (!signIn) return undefined
    const now = new Date(clock())
    const principal = await findPrincipal(db, signIn.accessKeyId)
    if (!principal || isExpired(principal, now) || !hasRole(principal, 'manager')) {
      signIns.clear(reply)
      return undefined
    }
    if (now.getTime() - signIn.seenAt >= RENEW_AFTER_SECONDS * 1000) {
      await write(reply, { ...signIn, seenAt: now.getTime() })
    }
    return principal
  }

  return {
    // Who opens a link wants what it is for, signed in or not.
    async of(request, reply) {
      const guest = await findGuest(request)
      if (guest.kind === 'guest') return guest
      const principal = await findMember(request, reply)
      return principal ? { kind: 'member', principal } : guest
    },
    memberOf: findMember,
    signIn: (reply, { id }) => write(reply, { accessKeyId: id, startedAt: clock(), seenAt: clock() }),
    signOut: (reply) => signIns.clear(reply),
    // The cookie outlives the link, to tell an ended one from none.
    enter: (reply, session, token) =>
      links.write(reply, { token }, addSeconds(session.expires_at, REMEMBERED_SECONDS)),
    leave: (reply) => links.clear(reply),
  }
}

/** Whether a visitor may connect an organization by a method. */
export const mayConnect = (visitor: Visitor, organization: string, method: 'oauth' | 'token'): boolean => {
  switch (visitor.kind) {
    case 'guest':
      return visitor.session.organization === organization && visitor.session.methods.includes(method)
    case 'member':
      return mayActIn(visitor.principal, organization)
    case 'nobody':
      return false
  }
}
