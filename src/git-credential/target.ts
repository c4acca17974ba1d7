import { type Principal, requireOneOrganization } from '../callers/principal.ts'
import type { Database } from '../db/database.ts'
import { Problem } from '../errors/problem.ts'
import { findConnectionsOfHost } from './queries.ts'
import type { GitRequest } from './wire.ts'

/** What Git asks about: a repository; or a whole host, when Git sends no path. */
export type Target = { url: string } | { connectionId: string }

/** A wiki is a repository of its own, and lies in no other project than its own: /group/project.wiki.git. */
const WIKI = /\.wiki\.git(?=\/|$)/i

const encodePath = (path: string): string =>
  path
    .split('/')
    .map((segment) => encodeURIComponent(segment))
    .join('/')

export const urlOf = ({ protocol, host }: Pick<GitRequest, 'protocol' | 'host'>, path: string): string =>
  `${protocol}://${host}/${encodePath(path.replace(/^\/+/, '').replace(WIKI, '.git'))}`

/** The host as base URLs have it: without the port that the scheme implies. */
const originOf = (request: GitRequest): string => new URL(urlOf(request, '')).origin

/**
 * @throws {Problem} invalid_request: Git sends no path, and the host alone does not tell which connection is meant;
 *   no_connection_for_url, organization_required, not_found
 */
export const findTarget = async (
  db: Database,
  principal: Principal,
  request: GitRequest,
  named: string | undefined,
): Promise<Target> => {
  if (request.path !== undefined) return { url: urlOf(request, request.path) }
  const organization = requireOneOrganization(principal, named)
  const origin = originOf(request)
  if (principal.restrictions.urlPrefixes) throw pathRequired(origin, 'your access key is limited by URL')
  const ids = principal.restrictions.connections
  const [only, another] =
    ids?.length === 0 ? [] : await findConnectionsOfHost(db, { organization, origin, ids })
  if (!only)
    throw new Problem('no_connection_for_url', `No active connection of ${organization} is on ${origin}.`)
  if (another) throw pathRequired(origin, `${organization} has more than one connection there`)
  if (!only.covers_all)
    throw pathRequired(origin, `the connection of ${organization} is limited to a part of it`)
  return { connectionId: only.id }
}

const pathRequired = (origin: string, why: string): Problem =>
  new Problem(
    'invalid_request',
    `Git does not say which repository of ${origin} it wants, and ${why}: set credential.useHttpPath=true.`,
    { errors: [{ field: 'path', message: 'is required' }] },
  )
