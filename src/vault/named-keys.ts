import { createHmac, type webcrypto } from 'node:crypto'
import { exportJWK, generateKeyPair, importJWK, type JWK } from 'jose'
import { v7 as uuidv7 } from 'uuid'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { SigningKeyRow } from '../db/tables.ts'
import { findSigningKey, insertSigningKey, listPublicKeys } from './queries.ts'
import type { SealedTable } from './reseal.ts'
import { sealedColumn } from './sealed-column/queries.ts'
import type { SecretBinding, Vault } from './vault.ts'

/** What a key is for; each purpose has one current key, shared by all replicas. */
type Purpose = 'receipt' | 'audit_seal' | 'token_hash'

/** Every JOSE library knows it. */
const RECEIPT_ALGORITHM = 'ES256'
const SECRET_BYTES = 32

export type ReceiptKey = { kid: string; alg: string; key: webcrypto.CryptoKey }

/** Keys with a purpose of their own, made when first needed, stored encrypted. None of them is a data key. */
export type NamedKeys = {
  /** Signs receipts of leases. */
  receiptKey(): Promise<ReceiptKey>
  /** With which receipts can be checked, earlier keys too. */
  receiptPublicKeys(): Promise<JWK[]>
  /** HMAC-SHA-256, in hex, of a seal of the audit chain. */
  sealMac(text: string): Promise<string>
  /**
   * HMAC-SHA-256 of a token, in hex: equal for equal tokens, and useless without the key. undefined when the key cannot
   * be had right now: an act is recorded without rather than not done.
   */
  tokenHash(token: string): Promise<string | undefined>
}

const signingKeyBinding = (id: string): SecretBinding => ({
  ownerId: id,
  version: 1,
  use: 'signing_key',
})

const makeSecret = async (): Promise<{ secret: JWK; publicJwk: JWK | null }> => ({
  secret: {
    kty: 'oct',
    k: Buffer.from(crypto.getRandomValues(new Uint8Array(SECRET_BYTES))).toString('base64url'),
  },
  publicJwk: null,
})

const makePair = async (): Promise<{ secret: JWK; publicJwk: JWK | null }> => {
  const { privateKey, publicKey } = await generateKeyPair(RECEIPT_ALGORITHM, { extractable: true })
  return { secret: await exportJWK(privateKey), publicJwk: await exportJWK(publicKey) }
}

/** @param vault seals the keys themselves. */
export const createNamedKeys = ({
  db,
  vault,
  clock,
}: {
  db: Database
  vault: Pick<Vault, 'seal' | 'open'>
  clock: Clock
}): NamedKeys => {
  const find = async (purpose: Purpose): Promise<SigningKeyRow> => {
    const known = await findSigningKey(db, purpose)
    if (known) return known
    const id = uuidv7()
    const { secret, publicJwk } = purpose === 'receipt' ? await makePair() : await makeSecret()
    await insertSigningKey(db, {
      id,
      purpose,
      key_jwe: await vault.seal(JSON.stringify(secret), signingKeyBinding(id)),
      public_jwk: publicJwk && JSON.stringify(publicJwk),
      created_at: new Date(clock()),
    })
    // Another replica may have been first: what the database holds counts.
    const made = await findSigningKey(db, purpose)
    if (!made) throw new Error('A signing key was made and is gone')
    return made
  }

  /** Once a process; a failure is not remembered. */
  const once = <Key>(load: () => Promise<Key>): (() => Promise<Key>) => {
    let loaded: Promise<Key> | undefined
    return () => {
      loaded ??= load().catch((error: unknown) => {
        loaded = undefined
        throw error
      })
      return loaded
    }
  }

  const open = async (row: SigningKeyRow): Promise<JWK> =>
    JSON.parse(await vault.open(row.key_jwe, signingKeyBinding(row.id)))

  const secretOf = (purpose: Purpose) =>
    once(async () => Buffer.from((await open(await find(purpose))).k ?? '', 'base64url'))
  const sealSecret = secretOf('audit_seal')
  const tokenSecret = secretOf('token_hash')
  const receiptKey = once(async (): Promise<ReceiptKey> => {
    const row = await find('receipt')
    const key = (await importJWK(await open(row), RECEIPT_ALGORITHM)) as webcrypto.CryptoKey
    return { kid: row.id, alg: RECEIPT_ALGORITHM, key }
  })

  return {
    receiptKey,
    async receiptPublicKeys() {
      await receiptKey()
      const rows = await listPublicKeys(db, 'receipt')
      return rows.map(({ id, public_jwk }) => ({
        ...(public_jwk as JWK),
        kid: id,
        alg: RECEIPT_ALGORITHM,
        use: 'sig',
      }))
    },
    sealMac: async (text) =>
      createHmac('sha256', await sealSecret())
        .update(text)
        .digest('hex'),
    async tokenHash(token) {
      const secret = await tokenSecret().catch(() => undefined)
      return secret && createHmac('sha256', secret).update(token).digest('hex')
    },
  }
}

/** The keys themselves, for `rotate-keys`. */
export const sealedSigningKeys = (db: Database): SealedTable =>
  sealedColumn(db, { table: 'signing_keys', column: 'key_jwe', use: 'signing_key' })
