import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Logger } from 'pino'
import { toPrincipal } from '../access-keys/identify.ts'
import { findIssuerRules } from '../access-keys/queries.ts'
import type { WayToIdentify } from '../callers/authenticator.ts'
import type { Principal } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { TrustedIssuerRow } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { findRule } from './claims.ts'
import type { IssuerKeySets } from './key-set.ts'
import { findByIssuer } from './queries.ts'
import { type RefusalReason, readUnverified, type VerifiedClaims, verifyToken } from './verify-token.ts'

const REMEMBERED_TOKENS = 10_000
/** So long a token is not verified again: the issuer may have withdrawn its key meanwhile. */
const REMEMBERED_MS = 5 * 60_000

type Deps = { db: Database; keySets: IssuerKeySets; clock: Clock; logger: Logger }

const nameToken = (token: string): string => hash('sha256', token, 'base64')

/** One answer for what tells of our trust; the log has the reason. */
const toRefusal = (reason: RefusalReason): Problem => {
  switch (reason) {
    case 'expired':
      return new Problem('unauthorized', 'The token of this issuer has expired.')
    case 'not_yet_valid':
      return new Problem('unauthorized', 'The token of this issuer is not valid yet.')
    case 'no_rule':
      return new Problem('unauthorized', 'The token is genuine, and no rule of its trusted issuer is for it.')
    case 'audit_only':
      return new Problem(
        'unauthorized',
        'The token is genuine; its issuer is trusted for trial only (audit_only).',
      )
    default:
      return new Problem(
        'unauthorized',
        'No trusted issuer vouches for this token: its issuer, audience or signature is not one that is trusted here.',
      )
  }
}

/** Identifies workloads by a JWT of a trusted issuer. */
export const createWorkloadIdentification = ({ db, keySets, clock, logger }: Deps): WayToIdentify => {
  const remembered = new LRUCache<string, Principal>({
    max: REMEMBERED_TOKENS,
    ttl: REMEMBERED_MS,
    perf: { now: clock },
    ttlResolution: 0,
  })

  const refuse = (reason: RefusalReason, issuer?: TrustedIssuerRow): Problem => {
    logger.info({ reason, issuer: issuer?.issuer }, 'a token of an issuer was refused')
    return toRefusal(reason)
  }

  /** @throws {Problem} unauthorized */
  const findCaller = async (issuer: TrustedIssuerRow, claims: VerifiedClaims): Promise<Principal> => {
    const rule = findRule(issuer.rules, claims)
    if (!rule) throw refuse('no_rule', issuer)
    if (issuer.mode === 'audit_only') {
      logger.info(
        { issuer: issuer.issuer, rule: rule.access_key_id, subject: claims.sub },
        'a token of an issuer would be accepted',
      )
      throw refuse('audit_only', issuer)
    }
    const row = (await findIssuerRules(db, [issuer.id])).find(({ id }) => id === rule.access_key_id)
    // The issuer was deleted while its keys were fetched.
    if (!row) throw refuse('unknown_issuer')
    return { ...toPrincipal(row), subject: claims.sub, expiresAt: new Date(claims.exp * 1000) }
  }

  const identify = async (token: string): Promise<Principal | undefined> => {
    const unverified = readUnverified(token)
    if (!unverified) return undefined
    const issuers = await findByIssuer(db, unverified.issuer)
    if (issuers.length === 0) throw refuse('unknown_issuer')
    const addressed = issuers.filter(({ audience }) => unverified.audiences.includes(audience))
    let refusal: Problem | undefined
    for (const issuer of addressed) {
      const verification = await verifyToken(issuer, keySets.for(issuer), token, new Date(clock()))
      try {
        if (!verification.verified) throw refuse(verification.reason, issuer)
        return await findCaller(issuer, verification.claims)
      } catch (error) {
        if (!(error instanceof Problem)) throw error
        refusal ??= error
      }
    }
    throw refusal ?? refuse('wrong_audience', issuers[0])
  }

  return {
    async identify(token) {
      const name = nameToken(token)
      try {
        const principal = await identify(token)
        if (principal) remembered.set(name, principal)
        return principal
      } catch (error) {
        if (error instanceof Problem && error.code === 'unauthorized') remembered.delete(name)
        throw error
      }
    },
    remembered: (token) => remembered.get(nameToken(token)),
  }
}
