import type { Role } from '../db/tables.ts'
import { notFound, Problem } from '../errors/problem.ts'

/** Who calls, and what the caller may do; without the secret that proves it. */
export type Principal = {
  id: string
  name: string
  role: Role
  organizations: string[]
  expiresAt: Date | null
}

export const EVERY_ORGANIZATION = '*'

const RANK: Record<Role, number> = { scanner: 1, manager: 2, admin: 3 }

/** Each role may do what those below it may: scanner < manager < admin. */
export const hasRole = (principal: Principal, role: Role): boolean => RANK[principal.role] >= RANK[role]

export const isExpired = (principal: Principal, now: Date): boolean =>
  principal.expiresAt !== null && principal.expiresAt <= now

/** undefined = no limit. For the `where organization = any(...)` of a query. */
export const organizationsOf = (principal: Principal): string[] | undefined =>
  principal.organizations.includes(EVERY_ORGANIZATION) ? undefined : principal.organizations

export const mayActIn = (principal: Principal, organization: string): boolean =>
  principal.organizations.includes(EVERY_ORGANIZATION) || principal.organizations.includes(organization)

/** What lies outside a key's organizations does not exist for it. */
export const requireOrganization = (principal: Principal, organization: string): void => {
  if (!mayActIn(principal, organization)) throw notFound('organization')
}

/** For what belongs to all organizations together: instances and OAuth apps. */
export const requireEveryOrganization = (principal: Principal): void => {
  if (organizationsOf(principal) !== undefined) {
    throw new Problem(
      'forbidden',
      'This changes something that all organizations share: it takes a key for all of them ("*").',
    )
  }
}

/** Who did something, for the record: a caller, or the access key that made a connect session. */
export type Actor = {
  accessKeyId: string
  requestId: string
  /** Of the client. */
  address: string
}

export const actorOf = ({ id }: Pick<Principal, 'id'>, request: { id: string; ip: string }): Actor => ({
  accessKeyId: id,
  requestId: request.id,
  address: request.ip,
})
