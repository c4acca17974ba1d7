import type { Role } from '../db/tables.ts'
import { notFound, Problem } from '../errors/problem.ts'
import { isWithinPrefix, isWithinPrefixAt, type Reading, type ResourceUrl } from '../gitlab/repository-url.ts'

/** What a caller is limited to, within its role and organizations. */
export type Restrictions = {
  /** Canonical URLs: lookups by URL below one of them, and none by id. undefined = no limit. */
  urlPrefixes?: string[] | undefined
  /** Ids of connections. undefined = no limit. */
  connections?: string[] | undefined
  /** Reads and explains; gets no credential and changes nothing. */
  readOnly: boolean
}

/** A public JWK (RFC 7517), of the members that encrypting takes. */
export type EncryptionKey = Record<string, string>

/** Who calls, and what the caller may do; without the secret that proves it. */
export type Principal = {
  /** Of the access key, or of the rule of a trusted issuer. */
  id: string
  name: string
  role: Role
  organizations: string[]
  restrictions: Restrictions
  /** What its credentials can be encrypted for. */
  encryptionKey: EncryptionKey | undefined
  /** Its credentials are given out encrypted only. */
  requiresSealed: boolean
  /** The workload that a trusted issuer names; null = an access key. */
  subject: string | null
  expiresAt: Date | null
}

export const EVERY_ORGANIZATION = '*'
/** The service itself, as the record of leases names it. No access key has this id. Its leases hold no refresh back. */
export const SERVICE_ID = '00000000-0000-0000-0000-000000000000'

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

/**
 * The one organization that a lookup is about: the one that it names, or the only one of the caller.
 * @throws {Problem} not_found, organization_required
 */
export const requireOneOrganization = (principal: Principal, organization: string | undefined): string => {
  if (organization !== undefined) {
    requireOrganization(principal, organization)
    return organization
  }
  const own = organizationsOf(principal)
  const [only, another] = own ?? []
  if (only !== undefined && another === undefined) return only
  throw new Problem(
    'organization_required',
    'Your access key is for more than one organization: name the one that this is about.',
    {
      errors: [{ field: 'organization', message: 'is required' }],
      members: own ? { organizations: own } : {},
    },
  )
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

/** Whether a lookup by this URL may lie within the caller's URL prefixes. Only the instance tells: see mayAskAt. */
export const mayAskFor = ({ restrictions }: Principal, resource: ResourceUrl): boolean =>
  restrictions.urlPrefixes?.some((prefix) => isWithinPrefix(resource, prefix)) ?? true

/** The same for what a URL names on a known instance. */
export const mayAskAt = ({ restrictions }: Principal, reading: Reading): boolean =>
  restrictions.urlPrefixes?.some((prefix) => isWithinPrefixAt(reading, prefix)) ?? true

/**
 * Whether the caller may name a connection instead of a URL. A caller with URL prefixes may not: the token of a
 * connection can reach more than any prefix, and only the URL tells what the caller wants with it.
 */
export const mayNameConnections = ({ restrictions }: Principal): boolean =>
  restrictions.urlPrefixes === undefined

/** Who works on the page acts on whole organizations, and stays signed in for longer than a token of an issuer lives. */
export const mayUsePage = (principal: Principal): boolean =>
  hasRole(principal, 'manager') && !principal.restrictions.readOnly && principal.subject === null

/** The request in which something is done, for the record. */
export type Origin = {
  requestId: string
  /** Of the client; undefined = a background job. */
  address?: string | undefined
}

/** Who did something, for the record: a caller, or the access key that made a connect session. */
export type Actor = Origin & { accessKeyId: string }

export const originOf = (request: { id: string; ip: string }): Origin => ({
  requestId: request.id,
  address: request.ip,
})

export const actorOf = ({ id }: Pick<Principal, 'id'>, request: { id: string; ip: string }): Actor => ({
  accessKeyId: id,
  ...originOf(request),
})
