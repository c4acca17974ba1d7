import { CompactEncrypt, calculateJwkThumbprint, importJWK } from 'jose'
import { invalidField } from '../errors/problem.ts'
import type { EncryptionKey } from './principal.ts'

/** Members of a private or symmetric key (RFC 7518, section 6): whoever sends one has given the key away. */
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']
const KEPT_MEMBERS = ['kty', 'crv', 'x', 'y', 'n', 'e', 'kid', 'alg']
const LONGEST_MEMBER = 2_000

/** What each kind of key may be used with; the first is the default (RFC 7518, section 4.1). */
const ALGORITHMS: Record<string, string[]> = {
  'EC P-256': ['ECDH-ES+A256KW', 'ECDH-ES'],
  'OKP X25519': ['ECDH-ES+A256KW', 'ECDH-ES'],
  RSA: ['RSA-OAEP-256'],
}

const algorithmsOf = ({ kty, crv }: EncryptionKey): string[] =>
  ALGORITHMS[crv === undefined ? `${kty}` : `${kty} ${crv}`] ?? []

/** A compact JWE (RFC 7516) that only the holder of the private key opens. */
export const encryptFor = async (
  key: EncryptionKey,
  text: string,
  header: { cty: string },
): Promise<string> => {
  const alg = key.alg ?? algorithmsOf(key)[0]
  if (alg === undefined) throw new Error('An encryption key of this kind is not stored')
  return new CompactEncrypt(new TextEncoder().encode(text))
    .setProtectedHeader({
      alg,
      enc: 'A256GCM',
      kid: key.kid ?? (await calculateJwkThumbprint(key)),
      ...header,
    })
    .encrypt(await importJWK(key, alg))
}

/**
 * Reads a public JWK that somebody sends, and tries it.
 * @param field names it in a problem, which repeats nothing of it.
 * @throws {Problem} invalid_request
 */
export const readEncryptionKey = async (jwk: object, field: string): Promise<EncryptionKey> => {
  if (PRIVATE_MEMBERS.some((name) => name in jwk)) {
    throw invalidField(
      field,
      'holds a private key: send the public half alone, and of a new pair, since this one is no longer secret',
    )
  }
  const members = Object.entries(jwk).filter(([name]) => KEPT_MEMBERS.includes(name))
  if (members.some(([, value]) => typeof value !== 'string' || value.length > LONGEST_MEMBER))
    throw invalidField(field, 'has a member that is no text, or too long')
  const key: EncryptionKey = Object.fromEntries(members)
  const algorithms = algorithmsOf(key)
  if (algorithms.length === 0) throw invalidField(field, 'must be a key of EC P-256, OKP X25519 or RSA')
  if ('use' in jwk && jwk.use !== 'enc') throw invalidField(field, 'is not for encryption (use)')
  if (key.alg !== undefined && !algorithms.includes(key.alg))
    throw invalidField(field, `must have alg ${algorithms.join(' or ')}, or none`)
  await encryptFor(key, 'a trial', { cty: 'text' }).catch(() => {
    throw invalidField(field, 'is not a valid public key, or too weak: RSA takes 2048 bits or more')
  })
  return key
}
