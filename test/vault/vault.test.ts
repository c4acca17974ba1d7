import type { webcrypto } from 'node:crypto'
import { CompactEncrypt } from 'jose'
import t from 'tap'
import { validate as isUuid } from 'uuid'
import type { KeyRing } from '../../src/vault/key-ring.ts'
import { createVault, type SecretBinding, VaultError } from '../../src/vault/vault.ts'
import { connectByOAuth, setStage } from '../support/broker.ts'

const SECRET = 'glpat-FAKE-äöü-0123456789'
const KID = '01900000-0000-7000-8000-0000000000aa'
const binding: SecretBinding = { ownerId: 'one', version: 3, use: 'access' }

const newKey = () =>
  crypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt'])
const ringOf = (key: webcrypto.CryptoKey, kid = KID): KeyRing => ({
  current: () => ({ kid, key }),
  byId: async (id) => (id === kid ? key : undefined),
  follow: async () => undefined,
})

t.test('a ciphertext opens where it was sealed', async (t) => {
  const vault = createVault(ringOf(await newKey()))
  const sealed = await vault.seal(SECRET, binding)
  t.equal(await vault.open(sealed, binding), SECRET)
  t.notMatch(sealed, SECRET)
  t.not(await vault.seal(SECRET, binding), sealed, 'sealed twice is two ciphertexts')
  const header = JSON.parse(Buffer.from(sealed.split('.')[0]!, 'base64url').toString())
  t.same(header, { alg: 'dir', enc: 'A256GCM', kid: KID, cid: 'one', ver: 3, use: 'access' })
})

t.test('a ciphertext opens in no other row, version or column', async (t) => {
  const vault = createVault(ringOf(await newKey()))
  const sealed = await vault.seal(SECRET, binding)
  for (const elsewhere of [{ ownerId: 'two' }, { version: 2 }, { version: 4 }, { use: 'refresh' }] as const)
    await t.rejects(vault.open(sealed, { ...binding, ...elsewhere }), VaultError, JSON.stringify(elsewhere))
})

t.test('a ciphertext that was changed does not open, wherever it was changed', async (t) => {
  const key = await newKey()
  const vault = createVault(ringOf(key))
  const sealed = await vault.seal(SECRET, binding)
  const parts = sealed.split('.')
  for (const index of [2, 3, 4]) {
    const bytes = Buffer.from(parts[index]!, 'base64url')
    bytes[0]! ^= 1
    const changed = parts.with(index, bytes.toString('base64url')).join('.')
    await t.rejects(vault.open(changed, binding), VaultError, `part ${index}`)
  }
  const other = await vault.seal(SECRET, { ...binding, ownerId: 'two' })
  const swapped = [other.split('.')[0], ...parts.slice(1)].join('.')
  await t.rejects(
    vault.open(swapped, { ...binding, ownerId: 'two' }),
    VaultError,
    'the header is authenticated',
  )
  for (const nonsense of ['', 'a.b.c', '.....', SECRET, sealed.slice(0, -1), `${sealed}.x`])
    await t.rejects(vault.open(nonsense, binding), VaultError, nonsense.slice(0, 20))
})

t.test('no other key, and no other algorithm, opens it', async (t) => {
  const vault = createVault(ringOf(await newKey()))
  const sealed = await vault.seal(SECRET, binding)
  await t.rejects(createVault(ringOf(await newKey())).open(sealed, binding), VaultError)
  const gone = createVault(ringOf(await newKey(), '01900000-0000-7000-8000-0000000000bb'))
  await t.rejects(gone.open(sealed, binding), /data key .* is not in this database/)
  const claims = { kid: KID, cid: 'one', ver: 3, use: 'access' }
  const weaker = await new CompactEncrypt(new TextEncoder().encode(SECRET))
    .setProtectedHeader({ alg: 'dir', enc: 'A128GCM', ...claims })
    .encrypt(new Uint8Array(16))
  await t.rejects(vault.open(weaker, binding), VaultError)
})

t.test(
  'a database that is away while a key is looked up is not taken for a changed ciphertext',
  async (t) => {
    const key = await newKey()
    const sealed = await createVault(ringOf(key)).seal(SECRET, binding)
    const away = Object.assign(new Error('away'), { code: 'ECONNREFUSED' })
    const vault = createVault({ ...ringOf(key), byId: () => Promise.reject(away) })
    await t.rejects(vault.open(sealed, binding), away)
  },
)

t.test('what lies in the table opens only in its own row, column and version', async (t) => {
  const stage = await setStage(t)
  const { db, get } = stage.broker
  const ids = [await connectByOAuth(stage), await connectByOAuth(stage, { username: 'tom' })] as const
  t.ok(ids.every((id) => isUuid(id)))
  const rows = await db.selectFrom('connections').selectAll().orderBy('id').execute()
  const [first, second] = rows
  const change = (set: Partial<NonNullable<typeof first>>) =>
    db.updateTable('connections').set(set).where('id', '=', ids[0]).execute()
  for (const [what, moved] of [
    ['another row', { access_token: second!.access_token }],
    ['another column', { access_token: first!.refresh_token! }],
    ['another version', { token_version: 2 }],
  ] as const) {
    await change(moved)
    const { status, body } = await get(`/v1/connections/${ids[0]}/credential`)
    t.match({ status, code: body.code }, { status: 500, code: 'internal_error' }, what)
    await change({ access_token: first!.access_token, token_version: 1 })
  }
  t.equal((await get(`/v1/connections/${ids[0]}/credential`)).status, 200)
})
