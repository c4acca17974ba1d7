import type { FastifyReply, FastifyRequest } from 'fastify'
import { findPrincipal } from '../../access-keys/identify.ts'
import { hasRole, isExpired, type Principal } from '../../callers/principal.ts'
import { addSeconds, type Clock } from '../../clock/clock.ts'
import type { LinkEnd } from '../../connect-sessions/connect-session.ts'
import { type FoundLink, findLink, type OpenLink } from '../../connect-sessions/find-link.ts'
import { createSealedCookie, type SealedCookieDeps } from '../../connect-sessions/sealed-cookie.ts'
import type { Database } from '../../db/database.ts'

/** Somebody with a connect link: one organization, its methods, once. */
export type Guest = { kind: 'guest'; link: OpenLink }
/** Somebody who is signed in with an access key. */
export type Member = { kind: 'member'; principal: Principal }

/** Who looks at the page. */
export type Visitor = { kind: 'nobody'; ended?: LinkEnd | undefined } | Guest | Member

const IDLE_SECONDS = 30 * 60
/** The longest that a sign-in lasts. */
const SIGN_IN_SECONDS = 12 * 60 * 60
/** A new cookie once a minute is often enough to notice idleness. */
const RENEW_AFTER_SECONDS = 60
/** Longer than any link lives, to tell an ended one from none. */
const KEPT_SECONDS = 48 * 60 * 60

type SignIn = { accessKeyId: string; startedAt: number; seenAt: number }

/** The tokens of the links that a browser has opened: the one that /connect shows, and those beside it. */
type KeptTokens = { token: string; others?: string[] }

/** A link that this browser has opened, as it is now. */
export type KeptLink = { token: string; found: FoundLink }

export type Visitors = {
  /**
   * Who opens a link wants what it is for, signed in or not.
   * @param connectSessionId which of several open links is meant; undefined = the first that is open.
   */
  of(request: FastifyRequest, reply: FastifyReply, connectSessionId?: string): Promise<Visitor>
  /** Who is signed in, whatever link is open in another tab; undefined when nobody is. */
  memberOf(request: FastifyRequest, reply: FastifyReply): Promise<Principal | undefined>
  signIn(reply: FastifyReply, principal: Principal): Promise<void>
  signOut(reply: FastifyReply): void
  /** Ended ones included: when the use of a link is undone, the link works again. */
  keptLinks(request: FastifyRequest): Promise<KeptLink[]>
  /** Keeps connect links, so that their tokens need not stay in the address bar. No tokens = forget all. */
  keep(reply: FastifyReply, tokens: string[]): Promise<void>
}

type Deps = SealedCookieDeps & { db: Database; clock: Clock }

export const createVisitors = (deps: Deps): Visitors => {
  const signIns = createSealedCookie<SignIn>(deps, 'connect-sign-in')
  const links = createSealedCookie<KeptTokens>(deps, 'connect-link')
  const now = () => new Date(deps.clock())

  const writeSignIn = (reply: FastifyReply, signIn: SignIn) => {
    const { startedAt, seenAt } = signIn
    const until = Math.min(seenAt + IDLE_SECONDS * 1000, startedAt + SIGN_IN_SECONDS * 1000)
    return signIns.write(reply, signIn, new Date(until))
  }

  const keptLinks = async (request: FastifyRequest): Promise<KeptLink[]> => {
    const kept = await links.read(request)
    const tokens = kept ? [kept.token, ...(kept.others ?? [])] : []
    return Promise.all(
      tokens.map(async (token) => ({ token, found: await findLink(deps.db, { token }, now()) })),
    )
  }

  /** The key is read anew each time: deleting it, or taking organizations from it, works at once. */
  const memberOf = async (request: FastifyRequest, reply: FastifyReply): Promise<Principal | undefined> => {
    const signIn = await signIns.read(request)
    if (!signIn) return undefined
    const principal = await findPrincipal(deps.db, signIn.accessKeyId)
    if (!principal || isExpired(principal, now()) || !hasRole(principal, 'manager')) {
      signIns.clear(reply)
      return undefined
    }
    const seenAt = deps.clock()
    if (seenAt - signIn.seenAt >= RENEW_AFTER_SECONDS * 1000) await writeSignIn(reply, { ...signIn, seenAt })
    return principal
  }

  return {
    async of(request, reply, connectSessionId) {
      const found = (await keptLinks(request)).map((kept) => kept.found)
      const guest = guestOf(found, connectSessionId)
      if (guest?.kind === 'guest') return guest
      const principal = await memberOf(request, reply)
      return principal ? { kind: 'member', principal } : (guest ?? { kind: 'nobody' })
    },
    memberOf,
    signIn: (reply, { id }) =>
      writeSignIn(reply, { accessKeyId: id, startedAt: deps.clock(), seenAt: deps.clock() }),
    signOut: (reply) => signIns.clear(reply),
    keptLinks,
    async keep(reply, [token, ...others]) {
      if (token === undefined) links.clear(reply)
      else await links.write(reply, { token, others }, addSeconds(now(), KEPT_SECONDS))
    },
  }
}

const sessionIdOf = (found: FoundLink): string | undefined =>
  found.ended === undefined ? found.link.session.id : found.session?.id

/** Pure: what the links of a browser make of its visitor; undefined when there are none. */
const guestOf = (
  links: FoundLink[],
  connectSessionId: string | undefined,
): Guest | { kind: 'nobody'; ended: LinkEnd } | undefined => {
  const named = connectSessionId && links.find((found) => sessionIdOf(found) === connectSessionId)
  const found = named || (links.find(({ ended }) => ended === undefined) ?? links[0])
  if (!found) return undefined
  return found.ended === undefined
    ? { kind: 'guest', link: found.link }
    : { kind: 'nobody', ended: found.ended }
}
