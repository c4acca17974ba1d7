import { isDeepStrictEqual } from 'node:util'
import { type Static, Type } from 'typebox'
import { readEncryptionKey } from '../callers/encryption-key.ts'
import { EVERY_ORGANIZATION, mayActIn, type Principal } from '../callers/principal.ts'
import type { AccessKeyRow } from '../db/tables.ts'
import { invalidField, notFound, Problem } from '../errors/problem.ts'
import { canonicalUrlPrefix } from '../gitlab/repository-url.ts'
import { Organization } from '../http/schemas.ts'

/** What an access key, or a rule of a trusted issuer, grants: its schemas, and the columns that it is stored in. */

const MOST_ORGANIZATIONS = 1_000
const MOST_PREFIXES = 100
const MOST_CONNECTIONS = 1_000

export const Role = Type.Union([Type.Literal('admin'), Type.Literal('manager'), Type.Literal('scanner')], {
  description: 'Each role may do what those below it may: scanner < manager < admin.',
})

const nullable = <Value>(schema: object) => Type.Unsafe<Value | null>({ ...schema, type: ['array', 'null'] })

const restrictionFields = {
  url_prefixes: nullable<string[]>({
    items: { type: 'string', minLength: 1, maxLength: 2048 },
    minItems: 1,
    maxItems: MOST_PREFIXES,
    uniqueItems: true,
    description:
      'Scanners only. Lookups by URL at or below one of these, such as https://gitlab.com/acme; none by connection id.',
    examples: [['https://gitlab.com/acme']],
  }),
  connections: nullable<string[]>({
    items: { type: 'string', format: 'uuid' },
    minItems: 1,
    maxItems: MOST_CONNECTIONS,
    uniqueItems: true,
    description: 'Scanners only. Ids of the connections that are there for this key.',
  }),
  read_only: Type.Boolean({ description: 'Reads and explains; gets no credential and changes nothing.' }),
}

/** As it is answered. */
export const RestrictionsShown = Type.Object(restrictionFields, {
  description: 'null = no limit. What lies outside does not exist for the key.',
})

/** A public JWK as somebody sends it; readEncryptionKey looks at its members. */
const SentKey = Type.Unsafe<object>({
  type: 'object',
  description:
    'A public JWK (EC P-256, OKP X25519 or RSA from 2048 bits): with `Accept: application/jose` credentials come encrypted for it.',
  examples: [{ kty: 'OKP', crv: 'X25519', x: 'hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo' }],
})
export const KeyShown = Type.Unsafe<Record<string, string> | null>({
  type: ['object', 'null'],
  additionalProperties: { type: 'string' },
  description: 'The public JWK that credentials can be encrypted for; null = none.',
})
const RequireSealed = Type.Boolean({
  description:
    'Credentials come encrypted for encryption_key only; any other answer with a token is refused.',
})

/** What may be sent to create a key or a rule. */
export const grantedFields = {
  role: Role,
  organizations: Type.Array(Type.Union([Organization, Type.Literal(EVERY_ORGANIZATION)]), {
    minItems: 1,
    maxItems: MOST_ORGANIZATIONS,
    uniqueItems: true,
    description: '`*` stands for all.',
    examples: [['acme']],
  }),
  restrictions: Type.Optional(
    Type.Partial(Type.Object(restrictionFields), {
      additionalProperties: false,
      description: 'What the key is limited to within its organizations.',
      examples: [{ url_prefixes: ['https://gitlab.com/acme'] }],
    }),
  ),
  encryption_key: Type.Optional(SentKey),
  require_sealed: Type.Optional(RequireSealed),
}

/** What is answered of a key or a rule. */
export const grantedShown = {
  role: Role,
  organizations: Type.Array(Type.String(), { description: '`*` stands for all.' }),
  restrictions: RestrictionsShown,
  encryption_key: KeyShown,
  require_sealed: RequireSealed,
}

const Granted = Type.Object(grantedFields)
export type Granted = Static<typeof Granted>

export type GrantedColumns = Pick<
  AccessKeyRow,
  | 'role'
  | 'organizations'
  | 'restricted_url_prefixes'
  | 'restricted_connections'
  | 'read_only'
  | 'require_sealed'
> & { encryption_key: string | null }

/** Nobody grants more than they hold. @throws {Problem} forbidden, not_found (organization) */
const requireHeld = (principal: Principal, organizations: string[]): void => {
  if (principal.subject !== null)
    throw new Problem('forbidden', 'A workload grants nothing: what it made would outlast its token.')
  const outside = organizations.filter((organization) => !mayActIn(principal, organization))
  if (outside.includes(EVERY_ORGANIZATION))
    throw new Problem('forbidden', 'Your own key is not for all organizations.')
  if (outside.length > 0) throw notFound('organization')
}

const readPrefixes = (prefixes: string[], field: string): string[] => {
  const canonical = prefixes.map((prefix) => canonicalUrlPrefix(prefix))
  const wrong = canonical.indexOf(undefined)
  if (wrong !== -1)
    throw invalidField(
      `${field}.${wrong}`,
      'must be a URL such as https://gitlab.com/acme, without credentials, query and wildcards',
    )
  return [...new Set(canonical)] as string[]
}

/**
 * Checks what somebody asks to be granted.
 * @param at the path of these fields in the body, such as 'rules.0.'
 * @throws {Problem} invalid_request, forbidden, not_found (organization)
 */
export const readGranted = async (
  { role, organizations, restrictions = {}, encryption_key, require_sealed = false }: Granted,
  principal: Principal,
  at = '',
): Promise<GrantedColumns> => {
  requireHeld(principal, organizations)
  const { url_prefixes = null, connections = null, read_only = false } = restrictions
  for (const [name, value] of Object.entries({ url_prefixes, connections })) {
    if (value !== null && role !== 'scanner')
      throw invalidField(
        `${at}restrictions.${name}`,
        'is for scanners: managers and admins act on whole organizations',
      )
  }
  if (require_sealed && encryption_key === undefined)
    throw invalidField(`${at}encryption_key`, 'is needed too: require_sealed takes a key to encrypt for')
  const key = encryption_key && (await readEncryptionKey(encryption_key, `${at}encryption_key`))
  if (principal.requiresSealed && !(require_sealed && isDeepStrictEqual(key, principal.encryptionKey)))
    throw new Problem(
      'forbidden',
      'Your own key gets credentials encrypted only: so must this one, with the same encryption_key.',
    )
  return {
    role,
    organizations,
    restricted_url_prefixes: url_prefixes && readPrefixes(url_prefixes, `${at}restrictions.url_prefixes`),
    restricted_connections: connections,
    read_only,
    encryption_key: key ? JSON.stringify(key) : null,
    require_sealed,
  }
}

/** How it is answered. */
export const showGranted = (row: AccessKeyRow) => ({
  role: row.role,
  organizations: row.organizations,
  restrictions: {
    url_prefixes: row.restricted_url_prefixes,
    connections: row.restricted_connections,
    read_only: row.read_only,
  },
  encryption_key: row.encryption_key,
  require_sealed: row.require_sealed,
})
