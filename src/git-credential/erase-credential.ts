import { hash, timingSafeEqual } from 'node:crypto'
import type { Principal } from '../callers/principal.ts'
import type { Database } from '../db/database.ts'
import { holderOf } from '../leases/lease.ts'
import type { Rejections } from '../leases/reject-lease.ts'
import { type FindByUrlDeps, rankByUrl } from '../lookup/find-by-url.ts'
import { findHeldTokens, type HeldToken } from './queries.ts'
import { findTarget, type Target, urlOf } from './target.ts'
import type { GitRequest } from './wire.ts'

type Deps = FindByUrlDeps & { db: Database; rejections: Rejections }

/**
 * "GitLab refused this password": rejects the lease under which the password was handed out. Git 2.46 and newer give the
 * lease back; for an older Git the token itself tells. A password that is not the current token of a connection of the
 * caller changes nothing: the next `get` answers another one anyway. A token that works may be refused for the repository alone: then
 * GitLab is asked about that.
 * @throws {Problem} those of Rejections.report, findTarget and rankByUrl
 */
export const eraseCredential = async (
  deps: Deps,
  principal: Principal,
  request: GitRequest,
  { organization }: { organization?: string | undefined },
): Promise<void> => {
  const { db, rejections } = deps
  const url = request.path === undefined ? undefined : urlOf(request, request.path)
  if (request.leaseId !== undefined) {
    await rejections.report(request.leaseId, principal, { url })
    return
  }
  const { password } = request
  if (password === undefined || password === '') return
  const target = await findTarget(db, principal, request, organization)
  const connectionIds = await connectionsOf(deps, principal, target, organization)
  if (connectionIds.length === 0) return
  const held = await findHeldTokens(db, { connectionIds, holder: holderOf(principal) })
  const lease = await findByToken(deps, held, password)
  if (lease) await rejections.report(lease.lease_id, principal, { url })
}

const connectionsOf = async (
  deps: Deps,
  principal: Principal,
  target: Target,
  organization: string | undefined,
): Promise<string[]> => {
  if ('connectionId' in target) return [target.connectionId]
  const { ranked } = await rankByUrl(
    deps,
    principal,
    { url: target.url, organization },
    { minTtl: undefined },
  )
  return ranked.map(({ id }) => id)
}

const digest = (text: string): Buffer => hash('sha256', text, 'buffer')

const findByToken = async (
  { openedTokens }: Deps,
  held: HeldToken[],
  password: string,
): Promise<HeldToken | undefined> => {
  const wanted = digest(password)
  for (const candidate of held)
    if (timingSafeEqual(digest(await openedTokens.open(candidate)), wanted)) return candidate
  return undefined
}
