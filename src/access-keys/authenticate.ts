import type { FastifyRequest, onRequestHookHandler } from 'fastify'
import { LRUCache } from 'lru-cache'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { Role } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { CALLER } from '../http/server.ts'
import { hashAccessKey, isMistyped, nameAccessKey } from './key-format.ts'
import { hasRole, isExpired, type Principal, toPrincipal } from './principal.ts'
import { findAccessKeyByHash } from './queries.ts'

export type Authenticator = {
  /** An onRequest hook: the caller has this role, asked of the database now. */
  requireRole(role: Role): (request: FastifyRequest) => Promise<void>
  /**
   * The same from memory where possible, without a query: only for operations whose own statement checks that
   * the key is still there (see lookup/grants/queries.ts), so that a deletion takes effect at once on every replica.
   */
  requireRoleFromMemory(role: Role): onRequestHookHandler
  /** Who presented this key; undefined when it is none of ours, or expired. */
  identify(key: string): Promise<Principal | undefined>
}

/** 10,000 keys are about 5 MB. */
const REMEMBERED_KEYS = 10_000
const BEARER = /^Bearer +([\x21-\x7e]{1,512})$/i

/** The caller of a route behind requireRole. */
export const principalOf = (request: FastifyRequest): Principal => {
  const principal = request.getDecorator<Principal | null>(CALLER)
  if (!principal) throw new Error('The route has no requireRole hook')
  return principal
}

const presentedKey = ({ headers }: FastifyRequest): string | undefined =>
  BEARER.exec(headers.authorization ?? '')?.[1]

export const createAuthenticator = ({ db, clock }: { db: Database; clock: Clock }): Authenticator => {
  const remembered = new LRUCache<string, Principal>({ max: REMEMBERED_KEYS })

  const ask = async (key: string): Promise<Principal | undefined> => {
    if (isMistyped(key)) return undefined
    const row = await findAccessKeyByHash(db, hashAccessKey(key))
    const name = nameAccessKey(key)
    if (!row) {
      remembered.delete(name)
      return undefined
    }
    const principal = toPrincipal(row)
    remembered.set(name, principal)
    return principal
  }

  const requireRole =
    (role: Role) =>
    async (request: FastifyRequest): Promise<void> => {
      const key = presentedKey(request)
      if (key === undefined)
        throw new Problem('unauthorized', 'Send an access key: Authorization: Bearer gtb_...')
      const principal = await ask(key)
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
      request.setDecorator<Principal>(CALLER, principal)
    }

  return {
    requireRole,
    requireRoleFromMemory(role) {
      const askForRole = requireRole(role)
      return (request, _reply, done) => {
        const key = presentedKey(request)
        const principal = key === undefined ? undefined : remembered.get(nameAccessKey(key))
        if (principal && hasRole(principal, role) && !isExpired(principal, new Date(clock()))) {
          request.setDecorator<Principal>(CALLER, principal)
          done()
        } else {
          askForRole(request).then(() => done(), done)
        }
      }
    },
    async identify(key) {
      const principal = await ask(key)
      return principal && !isExpired(principal, new Date(clock())) ? principal : undefined
    },
  }
}
