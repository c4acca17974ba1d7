import { randomBytes } from 'node:crypto'
import { v7 as uuidv7 } from 'uuid'
import { type Granted, readGranted } from '../access-keys/granted.ts'
import { hashAccessKey } from '../access-keys/key-format.ts'
import { onlyOrganization } from '../access-keys/organizations.ts'
import { insertAccessKey } from '../access-keys/queries.ts'
import { recordAuditEvent } from '../audit/queries.ts'
import { type Origin, type Principal, requireEveryOrganization } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { isUniqueViolation } from '../db/sqlstate.ts'
import type { AccessKeyRow, IssuerMode, TrustedIssuerRow } from '../db/tables.ts'
import { invalidField, Problem } from '../errors/problem.ts'
import { readCertificates } from '../gitlab/certificates.ts'
import { isSchemeAllowed } from '../gitlab/http-client.ts'
import type { ClaimPattern } from './claims.ts'
import { insertTrustedIssuer } from './queries.ts'

export type WantedRule = Omit<Granted, 'role'> & {
  role?: Granted['role'] | undefined
  claims: Record<string, ClaimPattern>
}

export type WantedTrustedIssuer = {
  issuer: string
  audience: string
  jwks_uri?: string | undefined
  allow_private_network?: boolean | undefined
  ca_certificate?: string | null | undefined
  mode?: IssuerMode | undefined
  rules: WantedRule[]
}

export type TrustedIssuerWithRules = { issuer: TrustedIssuerRow; rules: AccessKeyRow[] }

const requireAddress = (field: string, text: string, allowPrivateNetwork: boolean): void => {
  const url = URL.parse(text)
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password || url.search || url.hash)
    throw invalidField(field, 'must be a URL of https, without credentials, query and fragment')
  if (!isSchemeAllowed({ baseUrl: url.origin, allowPrivateNetwork, caCertificate: null }))
    throw invalidField(field, 'must be https; plain http takes allow_private_network')
}

const requireCertificates = (text: string): string => {
  const read = readCertificates(text)
  if ('fault' in read) throw invalidField('ca_certificate', read.fault)
  return read.pem
}

/**
 * Trusts an issuer. Each rule gets a row among the access keys whose hash is that of bytes which nobody keeps, so that
 * whatever checks a key checks a rule.
 * @throws {Problem} invalid_request, forbidden, not_found (organization), trusted_issuer_exists
 */
export const createTrustedIssuer = async (
  { db, clock }: { db: Database; clock: Clock },
  wanted: WantedTrustedIssuer,
  principal: Principal,
  origin: Origin,
): Promise<TrustedIssuerWithRules> => {
  const { issuer, audience, jwks_uri, allow_private_network = false, ca_certificate: written = null } = wanted
  const { mode = 'enforce' } = wanted
  // Which servers inside our network are called concerns everybody.
  if (allow_private_network || written !== null) requireEveryOrganization(principal)
  requireAddress('issuer', issuer, allow_private_network)
  if (jwks_uri !== undefined) requireAddress('jwks_uri', jwks_uri, allow_private_network)
  const ca_certificate = written === null ? null : requireCertificates(written)
  const granted = await Promise.all(
    wanted.rules.map(({ claims, role = 'scanner', ...rule }, index) =>
      readGranted({ ...rule, role }, principal, `rules.${index}.`),
    ),
  )
  const now = new Date(clock())
  const rules = wanted.rules.map(({ claims }) => ({ access_key_id: uuidv7(), claims }))
  return db
    .transaction()
    .execute(async (transaction) => {
      const row = await insertTrustedIssuer(transaction, {
        id: uuidv7(),
        issuer,
        audience,
        jwks_uri: jwks_uri ?? null,
        allow_private_network,
        ca_certificate,
        mode,
        rules: JSON.stringify(rules),
        created_at: now,
      })
      const rows: AccessKeyRow[] = []
      for (const [index, columns] of granted.entries()) {
        const inserted = await insertAccessKey(transaction, {
          ...columns,
          id: rules[index]?.access_key_id ?? uuidv7(),
          name: `rule ${index + 1} of ${issuer}`,
          key_sha256: hashAccessKey(randomBytes(32).toString('base64url')),
          trusted_issuer_id: row.id,
          created_at: now,
          expires_at: null,
        })
        rows.push(inserted)
      }
      await recordAuditEvent(transaction, {
        at: now,
        action: 'trusted_issuer.created',
        organization: onlyOrganization([...new Set(granted.flatMap((rule) => rule.organizations))]),
        accessKeyId: principal.id,
        subjectId: row.id,
        ...origin,
        details: { issuer, audience, mode, rules: rules.length, allow_private_network },
      })
      return { issuer: row, rules: rows }
    })
    .catch((error: unknown) => {
      if (isUniqueViolation(error))
        throw new Problem(
          'trusted_issuer_exists',
          'This issuer is already trusted for this audience, perhaps by another organization. Choose an audience of your own, such as the URL of this service with the name of the organization behind it.',
        )
      throw error
    })
}
