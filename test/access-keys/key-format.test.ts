import t from 'tap'
import { generateAccessKey, hashAccessKey, isMistyped } from '../../src/access-keys/key-format.ts'

t.test('a key names its role, and a typo shows without asking anybody', async (t) => {
  for (const [role, hint] of [
    ['admin', 'adm'],
    ['manager', 'mgr'],
    ['scanner', 'scn'],
  ] as const) {
    const key = generateAccessKey(role)
    t.match(key, new RegExp(`^gtb_${hint}_[\\w-]{43}[0-9a-f]{8}$`))
    t.not(generateAccessKey(role), key)
    t.equal(isMistyped(key), false)
    for (const at of [4, 8, 20, 50, key.length - 1]) {
      const typo = key.slice(0, at) + (key[at] === 'a' ? 'b' : 'a') + key.slice(at + 1)
      // A changed role hint is no longer of our format at all.
      if (at >= 8) t.equal(isMistyped(typo), true, `at ${at}`)
    }
  }
})

t.test('a bootstrap key of any other form is not taken for a typo', async (t) => {
  for (const key of ['FAKE-admin-key-0123456789-0123456789', 'gtb_adm_FAKE', 'gtb_'])
    t.equal(isMistyped(key), false, key)
})

t.test('what is stored is SHA-256', async (t) => {
  t.equal(
    hashAccessKey('abc').toString('hex'),
    'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
  )
})
