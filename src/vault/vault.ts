import type { webcrypto } from 'node:crypto'
import { CompactEncrypt, type CompactJWEHeaderParameters, compactDecrypt, errors } from 'jose'
import { validate as isUuid } from 'uuid'
import type { KeyRing } from './key-ring.ts'

export type SecretUse =
  | 'access'
  | 'refresh'
  | 'client_secret'
  | 'grant'
  | 'device'
  | 'state'
  | 'spool'
  | 'cookie'
  | 'form'
  | 'signing_key'

/** What browsers carry is anybody's to damage: that such a ciphertext does not open says nothing of what is stored. */
const CARRIED_BY_BROWSERS: SecretUse[] = ['cookie', 'form', 'state']

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
  /** A keyed hash of a token for the record (named-keys.ts); undefined when it cannot be had right now. Never throws. */
  tokenHash(token: string): Promise<string | undefined>
}

export type VaultOptions = {
  tokenHash?: Vault['tokenHash']
  /** Told when a stored ciphertext does not open. */
  onDamaged?: (error: VaultError) => void
}

/** A ciphertext that does not open: damage, or somebody moved it. Never holds the ciphertext. */
export class VaultError extends Error {
  /** Where it was read. */
  readonly binding: SecretBinding

  constructor(message: string, binding: SecretBinding) {
    super(message)
    this.name = 'VaultError'
    this.binding = binding
  }
}

const ENCRYPTION = 'A256GCM'

export const createVault = (
  keyRing: Pick<KeyRing, 'current' | 'byId'>,
  { tokenHash = async () => undefined, onDamaged }: VaultOptions = {},
): Vault => {
  const keyFor = async (
    header: CompactJWEHeaderParameters,
    binding: SecretBinding,
  ): Promise<webcrypto.CryptoKey> => {
    const { kid, cid, ver, use } = header as Record<string, unknown>
    if (cid !== binding.ownerId || ver !== binding.version || use !== binding.use) {
      throw new VaultError('A stored ciphertext is bound to another row, version or use', binding)
    }
    // The header of a cookie or a state parameter is anybody's until it opens: ask the database for ids only.
    const key = typeof kid === 'string' && isUuid(kid) ? await keyRing.byId(kid) : undefined
    if (!key) throw new VaultError('The data key of a stored ciphertext is not in this database', binding)
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
        const failure =
          error instanceof errors.JOSEError
            ? new VaultError('A stored ciphertext does not open: it was changed', binding)
            : error
        if (failure instanceof VaultError && !CARRIED_BY_BROWSERS.includes(binding.use)) onDamaged?.(failure)
        throw failure
      })
      return new TextDecoder().decode(opened.plaintext)
    },

    tokenHash,
  }
}
