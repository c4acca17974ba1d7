import t from 'tap'
import { decideKeySet, type KeySetState } from '../../src/trusted-issuers/key-set.ts'

const NOW = Date.parse('2026-11-02T10:30:00Z')
const MINUTE = 60_000
const ago = (ms: number) => NOW - ms

const TABLE: [
  what: string,
  age: Omit<KeySetState, 'isLoading'>,
  isUnknown: boolean,
  action: string,
  reason: string,
][] = [
  ['nothing yet', { loadedAt: undefined, triedAt: undefined }, false, 'load', 'never_loaded'],
  ['failed a second ago', { loadedAt: undefined, triedAt: ago(1_000) }, false, 'refuse', 'unavailable'],
  ['failed five seconds ago', { loadedAt: undefined, triedAt: ago(5_000) }, false, 'load', 'never_loaded'],
  ['loaded just now', { loadedAt: NOW, triedAt: NOW }, false, 'use', 'fresh'],
  [
    'loaded ten minutes ago',
    { loadedAt: ago(10 * MINUTE), triedAt: ago(10 * MINUTE) },
    false,
    'refresh',
    'aged',
  ],
  ['aged, tried a moment ago', { loadedAt: ago(10 * MINUTE), triedAt: ago(1_000) }, false, 'use', 'fresh'],
  [
    'an hour without the issuer',
    { loadedAt: ago(60 * MINUTE), triedAt: ago(MINUTE) },
    false,
    'refresh',
    'aged',
  ],
  ['six hours without it', { loadedAt: ago(360 * MINUTE), triedAt: ago(MINUTE) }, false, 'load', 'too_old'],
  ['and it failed', { loadedAt: ago(360 * MINUTE), triedAt: ago(1_000) }, false, 'refuse', 'unavailable'],
  ['unknown key, old set', { loadedAt: ago(MINUTE), triedAt: ago(MINUTE) }, true, 'load', 'unknown_key'],
  ['unknown key, asked', { loadedAt: ago(1_000), triedAt: ago(1_000) }, true, 'use', 'asked_a_moment_ago'],
  ['unknown key, failed', { loadedAt: ago(MINUTE), triedAt: ago(1_000) }, true, 'refuse', 'unavailable'],
]

for (const [what, age, isUnknown, action, reason] of TABLE)
  t.test(`a key set: ${what}`, async (t) =>
    t.same(decideKeySet({ ...age, isLoading: false }, { isUnknown }, NOW), { action, reason }),
  )

t.test('an attempt that is under way is waited for by those who need it', async (t) => {
  const fresh = { loadedAt: ago(MINUTE), triedAt: NOW, isLoading: true }
  const never = { loadedAt: undefined, triedAt: NOW, isLoading: true }
  const old = { loadedAt: ago(360 * MINUTE), triedAt: NOW, isLoading: true }
  const wait = { action: 'load', reason: 'under_way' }
  t.same(decideKeySet(never, { isUnknown: false }, NOW), wait)
  t.same(decideKeySet(old, { isUnknown: false }, NOW), wait)
  t.same(decideKeySet(fresh, { isUnknown: true }, NOW), wait)
  t.same(decideKeySet(fresh, { isUnknown: false }, NOW), { action: 'use', reason: 'fresh' })
})
