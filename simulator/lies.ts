import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib'

/**
 * Nonsense in the place of a good answer, by name: from a proxy, a broken plugin, or a server that means harm. GitLab has
 * done what it was asked; only its answer is bad.
 */

/** What is sent instead. Left out: status and content type as they were. */
export type Lie = {
  body: string | Buffer
  status?: number
  contentType?: string
  headers?: Record<string, string>
}

const HUGE = 200_000
const TOO_LARGE = 2_000_000
const DEEP = 50_000
const ID = /^(id|.*_id|uid)$/
const NAME = /^(name|username|token_type|web_url|state)$/
const PATH = /^(path|full_path|path_lyingnamespace)$/
const SCOPES = /^scopes?$/
const DATE = /_at$/
const LIFETIME = /^expires_in/

type Change = (value: unknown, name: string) => unknown

/** Changes every member whose name matches, at any depth. */
const changed = (answer: unknown, names: RegExp, change: Change): unknown => {
  if (Array.isArray(answer)) return answer.map((item) => changed(item, names, change))
  if (typeof answer !== 'object' || answer === null) return answer
  return Object.fromEntries(
    Object.entries(answer).map(([name, value]) => [
      name,
      names.test(name) ? change(value, name) : changed(value, names, change),
    ]),
  )
}

const json = (answer: unknown): Lie => ({ body: JSON.stringify(answer) })
/** Nobody asked for it: the request says `identity`, or nothing. */
const packed =
  (pack: (text: string) => Buffer, encoding: string) =>
  (answer: unknown): Lie => ({
    body: pack(JSON.stringify(answer)),
    headers: { 'content-encoding': encoding },
  })
const lying =
  (names: RegExp, change: Change) =>
  (answer: unknown): Lie =>
    json(changed(answer, names, change))
const always = (lie: Lie) => (): Lie => lie

/** All but what was issued. */
const ALL_BUT_TOKENS = /^(?!token$|access_token$|refresh_token$)/

export const LIES = {
  // The whole answer.
  html: always({ body: '<!DOCTYPE html><script>alert(1)</script>Sign in', contentType: 'text/html' }),
  empty: always({ body: '' }),
  no_content: always({ body: '', status: 204 }),
  redirect: always({ body: '', status: 302, headers: { location: 'https://elsewhere.example.com/' } }),
  teapot: always({ body: '{"message":"418"}', status: 418 }),
  array_for_object: (answer: unknown) => json([answer]),
  object_for_array: (answer: unknown) => json({ items: answer }),
  null: always({ body: 'null' }),
  text: always({ body: '"ok"' }),
  number: always({ body: '7' }),
  no_members: always({ body: '{}' }),
  deep: always({ body: `${'['.repeat(DEEP)}${']'.repeat(DEEP)}` }),
  deep_members: lying(ALL_BUT_TOKENS, () => JSON.parse(`${'{"a":'.repeat(1_000)}1${'}'.repeat(1_000)}`)),
  too_large: always({ body: JSON.stringify({ message: 'x'.repeat(TOO_LARGE) }) }),
  cut_json: (answer: unknown) => ({ body: JSON.stringify(answer).slice(0, -2) }),
  byte_order_mark: (answer: unknown) => ({ body: `\uFEFF${JSON.stringify(answer)}` }),
  compressed_gzip: packed(gzipSync, 'gzip'),
  compressed_deflate: packed(deflateSync, 'deflate'),
  compressed_deflate_raw: packed(deflateRawSync, 'Deflate'),
  compressed_brotli: packed(brotliCompressSync, 'br'),
  compressed_zstd: packed(zstdCompressSync, 'zstd'),
  compressed_twice: packed((text) => gzipSync(brotliCompressSync(text)), 'br, gzip'),
  unpacked_on_the_way: packed((text) => Buffer.from(text), 'gzip'),
  invalid_utf8: (answer: unknown) => ({
    body: Buffer.concat([
      Buffer.from('{"name":"'),
      Buffer.from([0xff, 0xc0, 0x80]),
      Buffer.from('",'),
      Buffer.from(JSON.stringify(answer).slice(1)),
    ]),
  }),
  wrong_content_type: (answer: unknown) => ({ body: JSON.stringify(answer), contentType: 'image/png' }),
  duplicate_members: (answer: unknown) => ({
    body: `${JSON.stringify(answer).replace(/}$/, '')},"user_id":"x","id":"x","resource_owner_id":"x","scopes":7}`,
  }),
  prototype: (answer: unknown) => ({
    body: JSON.stringify(answer).replace(
      /^{/,
      '{"__proto__":{"revoked":true},"constructor":{"prototype":1},',
    ),
  }),
  unprintable_errors: always({
    body: '{"error":{"toString":null},"error_description":{"toString":1,"valueOf":null},"message":{"toString":"x"}}',
    status: 401,
  }),
  forbidden_nonsense: always({
    body: JSON.stringify({
      error: 'insufficient_scope',
      error_description: '\u0000<script>alert(1)</script>'.repeat(5_000),
    }),
    status: 403,
  }),
  endless_pause: always({ body: 'Retry later', status: 429, headers: { 'retry-after': '9'.repeat(400) } }),

  // Numbers.
  ids_as_words: lying(ID, () => 'x'),
  ids_as_text: lying(ID, (value) => String(value)),
  ids_negative: lying(ID, () => -1),
  ids_zero: lying(ID, () => 0),
  ids_fractions: lying(ID, () => 1.5),
  ids_beyond_numbers: (answer: unknown) => ({
    body: JSON.stringify(changed(answer, ID, () => '<id>')).replaceAll('"<id>"', '1e999'),
  }),
  ids_beyond_integers: lying(ID, () => 1e21),
  ids_null: lying(ID, () => null),
  ids_objects: lying(ID, () => ({ $ne: null })),
  ids_true: lying(ID, () => true),
  ids_missing: lying(ID, () => undefined),
  lifetime_negative: lying(LIFETIME, () => -7200),
  lifetime_absurd: lying(LIFETIME, () => 1e300),
  lifetime_as_text: lying(LIFETIME, () => '7200'),
  lifetime_as_word: lying(LIFETIME, () => 'soon'),

  // Texts.
  names_as_numbers: lying(NAME, () => 7),
  names_huge: lying(NAME, () => 'n'.repeat(HUGE)),
  names_with_nul: lying(NAME, () => 'ma\u0000ria'),
  names_with_lone_surrogates: lying(NAME, () => 'maria\uD800'),
  names_with_markup: lying(NAME, () => '"><script>alert(1)</script><img src=x onerror=alert(1)>'),
  names_with_line_breaks: lying(NAME, () => 'maria\r\nset-cookie: a=b'),
  names_reversed: lying(NAME, () => 'maria\u202Eairam'),
  names_null: lying(NAME, () => null),
  names_as_lists: lying(NAME, () => ['maria']),
  paths_empty: lying(PATH, () => ''),
  paths_climbing: lying(PATH, () => '../../admin'),
  paths_with_nul: lying(PATH, () => 'acme\u0000'),
  paths_with_markup: lying(PATH, () => 'acme/<script>alert(1)</script>'),
  paths_huge: lying(PATH, () => 'a/'.repeat(HUGE)),
  paths_as_numbers: lying(PATH, () => 7),

  // Scopes.
  scopes_as_text: lying(SCOPES, (value) => (Array.isArray(value) ? value.join(' ') : value)),
  scopes_as_list: lying(SCOPES, (value) => (typeof value === 'string' ? value.split(' ') : value)),
  scopes_as_numbers: lying(SCOPES, () => [1, 2, 3]),
  scopes_as_object: lying(SCOPES, () => ({ read_api: true })),
  scopes_null: lying(SCOPES, () => null),
  scopes_with_nul: lying(SCOPES, () => ['read_api', 'read_user', 'read_repository', 'a\u0000b', 'a<b>c']),
  scopes_without_end: lying(SCOPES, () => [...Array(20_000).keys()].map((number) => `scope_${number}`)),

  // Times.
  dates_as_words: lying(DATE, () => 'tomorrow'),
  dates_as_numbers: lying(DATE, () => 99_999_999_999_999),
  dates_far: lying(DATE, () => '+275760-09-13T00:00:00.000Z'),
  dates_impossible: lying(DATE, () => '2026-13-45'),
  dates_of_no_calendar: lying(DATE, () => '2026-02-30'),
  dates_as_objects: lying(DATE, () => ({})),
} satisfies Record<string, (answer: unknown) => Lie>

export type LieName = keyof typeof LIES

export const isLieName = (name: string): name is LieName => Object.hasOwn(LIES, name)

/** @param body of the good answer; what is no JSON is lied about as an empty object. */
export const lieAbout = (name: LieName, body: unknown): Lie => {
  const text = typeof body === 'string' ? body : Buffer.isBuffer(body) ? body.toString() : ''
  let answer: unknown = {}
  try {
    answer = JSON.parse(text)
  } catch {}
  return LIES[name](answer)
}
