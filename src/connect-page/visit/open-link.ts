import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Principal } from '../../callers/principal.ts'
import type { Clock } from '../../clock/clock.ts'
import type { LinkEnd } from '../../connect-sessions/connect-session.ts'
import { findLink, type OpenLink } from '../../connect-sessions/find-link.ts'
import type { Database } from '../../db/database.ts'
import type { KeptLink, Visitors } from './visitor.ts'

type Deps = { db: Database; clock: Clock; visitors: Visitors }

/** More would make the cookie long; nobody has as many tabs with links. */
const MOST_LINKS = 4

export type Opening =
  | { kind: 'opened'; path: string }
  /** The person has to press a button first. */
  | { kind: 'asks'; link: OpenLink; member: Principal | undefined }
  | { kind: 'ended'; ended: LinkEnd }

/**
 * What happens to a browser that follows a connect link. The link may come from anywhere, so it replaces nothing: it
 * opens beside links that are open, and where somebody is signed in the person is asked first. The token of an
 * opened link moves from the address bar, where history keeps it, into a cookie.
 */
export const openLink = async (
  { db, clock, visitors }: Deps,
  token: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<Opening> => {
  const found = await findLink(db, { token }, new Date(clock()))
  if (found.ended !== undefined) return { kind: 'ended', ended: found.ended }
  const { link } = found
  const open = openOnes(await visitors.keptLinks(request))
  const path = pathOf(link, open)
  if (open.some((kept) => kept.token === token)) return { kind: 'opened', path }
  const member = await visitors.memberOf(request, reply)
  if (member || open.length >= MOST_LINKS || isLookingAhead(request)) return { kind: 'asks', link, member }
  await visitors.keep(reply, [...open.map((kept) => kept.token), token])
  return { kind: 'opened', path }
}

/** For the address that leads to the page. @returns the path of the page that shows the link, or asks about it. */
export const linkOpener =
  (deps: Deps) =>
  async (token: string, request: FastifyRequest, reply: FastifyReply): Promise<string> => {
    const opening = await openLink(deps, token, request, reply)
    return opening.kind === 'opened' ? opening.path : `/connect?session=${encodeURIComponent(token)}`
  }

/** The person pressed the button: the page shows this link from now on. */
export const switchToLink = async (
  { visitors }: Pick<Deps, 'visitors'>,
  token: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> => {
  const others = openOnes(await visitors.keptLinks(request)).filter((kept) => kept.token !== token)
  await visitors.keep(reply, [token, ...others.slice(0, MOST_LINKS - 1).map((kept) => kept.token)])
}

/** Forgets one link of this browser; others stay open. */
export const leaveLink = async (
  { visitors }: Pick<Deps, 'visitors'>,
  connectSessionId: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> => {
  const open = (await visitors.keptLinks(request)).filter(
    ({ found }) => found.ended === undefined && found.link.session.id !== connectSessionId,
  )
  await visitors.keep(
    reply,
    open.map(({ token }) => token),
  )
}

const openOnes = (links: KeptLink[]): KeptLink[] => links.filter(({ found }) => found.ended === undefined)

/** The page of a link: /connect shows the first that is open, any other is named in the address. */
const pathOf = ({ session }: OpenLink, open: KeptLink[]): string => {
  const first = open[0]?.found
  const isFirst = first === undefined || (first.ended === undefined && first.link.session.id === session.id)
  return isFirst ? '/connect' : `/connect?link=${session.id}`
}

/** A browser that loads what a person may click on next (Sec-Purpose, W3C Speculation Rules). */
const isLookingAhead = ({ headers }: FastifyRequest): boolean =>
  /prefetch|prerender|preview/i.test(`${headers['sec-purpose'] ?? ''} ${headers.purpose ?? ''}`)
