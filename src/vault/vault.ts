import type { webcrypto } from 'node:crypto'
import { CompactEncrypt, type CompactJWEHeaderParameters, compactDecrypt, errors } from 'jose'
import { validate as isUuid } from 'uuid'
import type { KeyRing } from './key-ring.ts'

export type SecretUse =
  | 'access'
  | 'refresh'
  | 'client_secret'
  | 'grant'
  | 'state'
  | 'spool'
  | 'cookie'
  | 'form'

/** What a ciphertext belongs to: it opens there and nowhere else. */
export type SecretBinding = {
  /** Connection id, OAuth app id for a client secret, or the name of a cookie or kind of form. */
  ownerId: string
  /** Token version, or OAuth app version. */
  version: number
  use: SecretUse
}

export type Vault = {
  /** JWE compact serialization (RFC 7516) with alg `dir`, enc `A256GCM` and the binding in the protected header. */
  seal(secret: string, binding: SecretBinding): Promise<string>
  /** @throws {VaultError} when the ciphertext is damaged, bound elsewhere, or its data key is not here. */
  open(jwe: string, binding: SecretBinding): Promise<string>
}

/** A ciphertext that does not open: damage, or somebody moved it. Never holds the ciphertext. */
export class VaultError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'VaultError'
  }
}

const ENCRYPTION = 'A256GCM'

export const createVault = (keyRing: KeyRing): Vault => {
  const keyFor = async (
    header: CompactJWEHeaderParameters,
    binding: SecretBinding,
  ): Promise<webcrypto.CryptoKey> => {
    const { kid, cid, ver, use } = header as Record<string, unknown>
    if (cid !== binding.ownerId || ver !== binding.version || use !== binding.use) {
      throw new VaultError('A stored ciphertext is bound to another row, version or use')
    }
    // The header of a cookie or a state parameter is anybody's until it opens: ask the database for ids only.
    const key = typeof kid === 'string' && isUuid(kid) ? await keyRing.byId(kid) : undefined
    if (!key) throw new VaultError('The data key of a stored ciphertext is not in this database')
    return key
  }

  return {
    async seal(secret, { ownerId, version, use }) {
      const { kid, key } = keyRing.current()
      return await new CompactEncrypt(new TextEncoder().encode(secret))
        .setProtectedHeader({ alg: 'dir', enc: ENCRYPTION, kid, cid: ownerId, ver: version, use })
        .encrypt(key)
    },

    async open(jwe, binding) {
      const opened = await compactDecrypt(jwe, (header) => keyFor(header, binding), {
        keyManagementAlgorithms: ['dir'],
        contentEncryptionAlgorithms: [ENCRYPTION],
      }).catch((error: unknown) => {
        // Anything but jose's own refusal (the database being away while a key is looked up) stays what it is.
        if (error instanceof errors.JOSEError)
          throw new VaultError('A stored ciphertext does not open: it was changed')
        throw error
      })
      return new TextDecoder().decode(opened.plaintext)
    },
  }
}
