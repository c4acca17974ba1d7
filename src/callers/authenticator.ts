import type { FastifyRequest, onRequestHookHandler } from 'fastify'
import type { Clock } from '../clock/clock.ts'
import type { Role } from '../db/tables.ts'
import { statusOf } from '../errors/catalogue.ts'
import { Problem } from '../errors/problem.ts'
import { CALLER } from '../http/server.ts'
import { hasRole, isExpired, type Principal } from './principal.ts'

/** One way to identify who calls, such as by an access key. */
export type WayToIdentify = {
  /**
   * Asks the database. undefined = this way does not know the credential.
   * @throws {Problem} unauthorized when it knows why the credential is refused, issuer_unavailable when it cannot tell
   */
  identify(credential: string): Promise<Principal | undefined>
  /** What this process remembers of the credential, without a query. It may be out of date. */
  remembered(credential: string): Principal | undefined
}

export type Authenticator = {
  /** An onRequest hook: the caller has this role, asked of the database now. What is read-only may GET and HEAD alone. */
  requireRole(role: Role): (request: FastifyRequest) => Promise<void>
  /**
   * The same from memory where possible, without a query. Only for operations that hand out a credential, which no
   * read-only caller gets: their own statement checks that the caller is still there (leases/queries.ts), so that a
   * deletion takes effect at once on every replica.
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

/** Node takes headers of 16 KiB in all: this leaves room for a JWT with many claims. */
const BEARER = /^Bearer +([\x21-\x7e]{1,12000})$/i
const NOT_FOUND = 404

const READING = new Set(['GET', 'HEAD'])

/** The caller of a route behind requireRole. */
export const principalOf = (request: FastifyRequest): Principal => {
  const principal = request.getDecorator<Principal | null>(CALLER)
  if (!principal) throw new Error('The route has no requireRole hook')
  return principal
}

const presentedCredential = ({ headers }: FastifyRequest): string | undefined =>
  BEARER.exec(headers.authorization ?? '')?.[1]

/** @throws {Problem} unauthorized, forbidden */
const requireFit = (principal: Principal, role: Role, now: Date): void => {
  if (isExpired(principal, now)) throw new Problem('unauthorized', 'This access key has expired.')
  if (!hasRole(principal, role)) {
    throw new Problem(
      'forbidden',
      `This takes an access key with the role ${role}; yours has ${principal.role}.`,
    )
  }
}

const askInTurn = async (ways: WayToIdentify[], credential: string): Promise<Principal | undefined> => {
  for (const way of ways) {
    const principal = await way.identify(credential)
    if (principal) return principal
  }
  return undefined
}

const recallFrom = (ways: WayToIdentify[], credential: string): Principal | undefined => {
  for (const way of ways) {
    const principal = way.remembered(credential)
    if (principal) return principal
  }
  return undefined
}

/** @param ways are asked in order; the first that knows the credential counts. */
export const createAuthenticator = ({
  clock,
  ways,
}: {
  clock: Clock
  ways: WayToIdentify[]
}): Authenticator => {
  const ask = (credential: string) => askInTurn(ways, credential)

  const requireCaller = async (request: FastifyRequest, role: Role): Promise<Principal> => {
    const credential = presentedCredential(request)
    if (credential === undefined)
      throw new Problem('unauthorized', 'Send an access key: Authorization: Bearer gtb_...')
    const principal = await ask(credential)
    if (!principal)
      throw new Problem('unauthorized', 'This access key is not known here: mistyped, or deleted.')
    // Set before it is known whether the caller may: who is refused is recorded, too.
    request.setDecorator<Principal>(CALLER, principal)
    requireFit(principal, role, new Date(clock()))
    return principal
  }

  const requireRole = (role: Role) => async (request: FastifyRequest) => {
    const { restrictions } = await requireCaller(request, role)
    if (restrictions.readOnly && !READING.has(request.method))
      throw new Problem('forbidden', 'This access key is read-only: it changes nothing.')
  }

  const requireCredentialTaker = (role: Role) => async (request: FastifyRequest) => {
    const { restrictions } = await requireCaller(request, role)
    if (restrictions.readOnly)
      throw new Problem('forbidden', 'This access key is read-only: it gets no credential.')
  }

  return {
    requireRole,
    requireRoleFromMemory(role) {
      const askForRole = requireCredentialTaker(role)
      return (request, _reply, done) => {
        const credential = presentedCredential(request)
        const principal = credential === undefined ? undefined : recallFrom(ways, credential)
        if (
          principal &&
          hasRole(principal, role) &&
          !isExpired(principal, new Date(clock())) &&
          !principal.restrictions.readOnly
        ) {
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
