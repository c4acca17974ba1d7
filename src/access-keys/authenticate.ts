import type { FastifyRequest } from 'fastify'
import { LRUCache } from 'lru-cache'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { Role } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { hashAccessKey, isMistyped } from './key-format.ts'
import { hasRole, isExpired, type Principal, toPrincipal } from './principal.ts'
import { findAccessKeyByHash } from './queries.ts'

export type Authenticator = {
  /** An onRequest hook: the caller has this role, asked of the database now. */
  requireRole(role: Role): (request: FastifyRequest) => Promise<void>
  /**
   * The same from memory where possible, without a query: only for operations whose own statement checks that
   * the key is still there (see lookup/queries.ts), so that a deletion takes effect at once on every replica.
   */
  requireRoleFromMemory(role: Role): (request: FastifyRequest) => Promise<void>
  /** Who presented this key; undefined when it is none of ours, or expired. */
  identify(key: string): Promise<Principal | undefined>
}

/** 10,000 keys are about 5 MB. */
const REMEMBERED_KEYS = 10_000
const BEARER = /^Bearer +([\x21-\x7e]{1,512})$/i

const principals = new WeakMap<FastifyRequest, Principal>()

/** The caller of a route behind requireRole. */
export const principalOf = (request: FastifyRequest): Principal => {
  const principal = principals.get(request)
  if (!principal) throw new Error('The route has no requireRole hook')
  return principal
}

export const createAuthenticator = ({ db, clock }: { db: Database; clock: Clock }): Authenticator => {
  const remembered = new LRUCache<string, Principal>({ max: REMEMBERED_KEYS })

  const ask = async (key: string): Promise<Principal | undefined> => {
    if (isMistyped(key)) return undefined
    const hash = hashAccessKey(key)
    const row = await findAccessKeyByHash(db, hash)
    if (!row) {
      remembered.delete(hash.toString('base64'))
      return undefined
    }
    const principal = toPrincipal(row)
    remembered.set(hash.toString('base64'), principal)
    return principal
  }

  const recall = async (key: string): Promise<Principal | undefined> =>
    remembered.get(hashAccessKey(key).toString('base64')) ?? (await ask(key))

  const requireRoleBy =
    (find: (key: string) => Promise<Principal | undefined>) =>
    (role: Role) =>
    async (request: FastifyRequest): Promise<void> => {
      const [, key] = BEARER.exec(request.headers.authorization ?? '') ?? []
      if (key === undefined)
        throw new Problem('unauthorized', 'Send an access key: Authorization: Bearer gtb_...')
      const principal = await find(key)
      if (!principal)
        throw new Problem('unauthorized', 'This access key is not known here: mistyped, or deleted.')
      if (isExpired(principal, new Date(clock())))
        throw new Problem('unauthorized', 'This access key has expired.')
      if (!hasRole(principal, role)) {
        throw new Problem(
          'forbidden',
          `This takes an access key with the role ${role}; yours has ${principal.role}.`,
        )
      }
      principals.set(request, principal)
    }

  return {
    requireRole: requireRoleBy(ask),
    requireRoleFromMemory: requireRoleBy(recall),
    async identify(key) {
      const principal = await ask(key)
      return principal && !isExpired(principal, new Date(clock())) ? principal : undefined
    },
  }
}
