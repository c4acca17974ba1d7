import type { FastifyRequest, onRequestHookHandler } from 'fastify'
import type { Clock } from '../clock/clock.ts'
import type { Role } from '../db/tables.ts'
import { statusOf } from '../errors/catalogue.ts'
import { Problem } from '../errors/problem.ts'
import { CALLER } from '../http/server.ts'
import { hasRole, isExpired, type Principal } from './principal.ts'

/** One way to identify who calls, such as by an access key. */
export type WayToIdentify = {
  /** Asks the database. undefined = this way does not know the credential. */
  identify(credential: string): Promise<Principal | undefined>
  /** What this process remembers of the credential, without a query. It may be out of date. */
  remembered(credential: string): Principal | undefined
}

export type Authenticator = {
  /** An onRequest hook: the caller has this role, asked of the database now. */
  requireRole(role: Role): (request: FastifyRequest) => Promise<void>
  /**
   * The same from memory where possible, without a query. Only for operations whose own statement checks that the
   * caller is still there (leases/queries.ts), so that a deletion takes effect at once on every replica.
   */
  requireRoleFromMemory(role: Role): onRequestHookHandler
  /**
   * For the handler of such an operation. When its work finds nothing, the caller itself may be gone or have changed:
   * identifies it again.
   * @throws {Problem} what identifying throws, otherwise what the work throws
   */
  identifyAgainIfNotFound<Result>(
    request: FastifyRequest,
    role: Role,
    work: (principal: Principal) => Promise<Result>,
  ): Promise<Result>
  /** Who presents this credential; undefined when it is unknown or expired. */
  identify(credential: string): Promise<Principal | undefined>
}

const BEARER = /^Bearer +([\x21-\x7e]{1,512})$/i
const NOT_FOUND = 404

/** The caller of a route behind requireRole. */
export const principalOf = (request: FastifyRequest): Principal => {
  const principal = request.getDecorator<Principal | null>(CALLER)
  if (!principal) throw new Error('The route has no requireRole hook')
  return principal
}

const presentedCredential = ({ headers }: FastifyRequest): string | undefined =>
  BEARER.exec(headers.authorization ?? '')?.[1]

/** @param ways are asked in order; the first that knows the credential counts. */
export const createAuthenticator = ({
  clock,
  ways,
}: {
  clock: Clock
  ways: WayToIdentify[]
}): Authenticator => {
  const ask = async (credential: string): Promise<Principal | undefined> => {
    for (const way of ways) {
      const principal = await way.identify(credential)
      if (principal) return principal
    }
    return undefined
  }

  const recall = (credential: string): Principal | undefined => {
    for (const way of ways) {
      const principal = way.remembered(credential)
      if (principal) return principal
    }
    return undefined
  }

  const requireRole =
    (role: Role) =>
    async (request: FastifyRequest): Promise<void> => {
      const credential = presentedCredential(request)
      if (credential === undefined)
        throw new Problem('unauthorized', 'Send an access key: Authorization: Bearer gtb_...')
      const principal = await ask(credential)
      if (!principal)
        throw new Problem('unauthorized', 'This access key is not known here: mistyped, or deleted.')
      // Set before it is known whether the caller may: who is refused is recorded, too.
      request.setDecorator<Principal>(CALLER, principal)
      if (isExpired(principal, new Date(clock())))
        throw new Problem('unauthorized', 'This access key has expired.')
      if (!hasRole(principal, role)) {
        throw new Problem(
          'forbidden',
          `This takes an access key with the role ${role}; yours has ${principal.role}.`,
        )
      }
    }

  return {
    requireRole,
    requireRoleFromMemory(role) {
      const askForRole = requireRole(role)
      return (request, _reply, done) => {
        const credential = presentedCredential(request)
        const principal = credential === undefined ? undefined : recall(credential)
        if (principal && hasRole(principal, role) && !isExpired(principal, new Date(clock()))) {
          request.setDecorator<Principal>(CALLER, principal)
          done()
        } else {
          askForRole(request).then(() => done(), done)
        }
      }
    },
    async identifyAgainIfNotFound(request, role, work) {
      try {
        return await work(principalOf(request))
      } catch (error) {
        if (error instanceof Problem && statusOf(error.code) === NOT_FOUND) await requireRole(role)(request)
        throw error
      }
    },
    async identify(credential) {
      const principal = await ask(credential)
      return principal && !isExpired(principal, new Date(clock())) ? principal : undefined
    },
  }
}
