import {
  decodeJwt,
  decodeProtectedHeader,
  errors,
  type JWTPayload,
  type JWTVerifyGetKey,
  jwtVerify,
} from 'jose'
import type { TrustedIssuerRow } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'

/** Signatures that only the issuer can make: none with a shared secret, and not `none`. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA']
/** How far the clock of an issuer may be off. */
const TOLERANCE_SECONDS = 10
const LONGEST_SUBJECT = 500
const LONGEST_ISSUER = 2_048

/** Why a token is refused, for the log. */
export type RefusalReason =
  | 'unknown_issuer'
  | 'wrong_issuer'
  | 'wrong_audience'
  | 'expired'
  | 'not_yet_valid'
  | 'bad_signature'
  | 'algorithm_not_allowed'
  | 'unknown_key'
  /** The issuer publishes something under this key id that cannot verify, such as a key that is too weak. */
  | 'unusable_key'
  | 'malformed'
  | 'no_rule'
  | 'audit_only'

/** What a token says of itself before it is verified: good for finding out who would have to vouch for it. */
export type Unverified = { issuer: string; audiences: string[] }

const isPlain = (text: string, longest: number): boolean =>
  text !== '' && text.length <= longest && text.isWellFormed() && !/\p{Cc}/u.test(text)

/** @returns undefined when it is no JWT that an issuer could have made. */
export const readUnverified = (token: string): Unverified | undefined => {
  try {
    decodeProtectedHeader(token)
    const { iss, aud } = decodeJwt(token)
    if (typeof iss !== 'string' || !isPlain(iss, LONGEST_ISSUER)) return undefined
    const audiences = [aud ?? []].flat().filter((audience) => typeof audience === 'string')
    return { issuer: iss, audiences }
  } catch {
    return undefined
  }
}

export type VerifiedClaims = JWTPayload & { sub: string; exp: number }
export type Verification =
  | { verified: true; claims: VerifiedClaims }
  | { verified: false; reason: RefusalReason }

const reasonOf = (error: unknown): RefusalReason => {
  if (error instanceof errors.JWTExpired) return 'expired'
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'aud') return 'wrong_audience'
    if (error.claim === 'iss') return 'wrong_issuer'
    return error.claim === 'nbf' && error.reason === 'check_failed' ? 'not_yet_valid' : 'malformed'
  }
  if (error instanceof errors.JOSEAlgNotAllowed) return 'algorithm_not_allowed'
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'bad_signature'
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys)
    return 'unknown_key'
  return error instanceof errors.JOSEError ? 'malformed' : 'unusable_key'
}

/** Whether a trusted issuer made this token, for us, and for now. @throws {Problem} issuer_unavailable */
export const verifyToken = async (
  { issuer, audience }: Pick<TrustedIssuerRow, 'issuer' | 'audience'>,
  getKey: JWTVerifyGetKey,
  token: string,
  now: Date,
): Promise<Verification> => {
  try {
    const { payload } = await jwtVerify(token, getKey, {
      issuer,
      audience,
      algorithms: ALGORITHMS,
      currentDate: now,
      clockTolerance: TOLERANCE_SECONDS,
      requiredClaims: ['exp', 'sub'],
    })
    const claims = payload as VerifiedClaims
    return typeof claims.sub === 'string' && isPlain(claims.sub, LONGEST_SUBJECT)
      ? { verified: true, claims }
      : { verified: false, reason: 'malformed' }
  } catch (error) {
    if (error instanceof Problem) throw error
    return { verified: false, reason: reasonOf(error) }
  }
}
