import fc, { type Arbitrary } from 'fast-check'
import type { Operation, Parameter, Schema } from './description.ts'

export type Who = 'admin' | 'manager' | 'scanner' | 'admin of another' | 'nobody' | 'a stranger'
/** Words of a scene, which stand for what it holds at the moment: `$connection`, `$instance`, `$SECRET`, ... */
export type FuzzRequest = {
  operation: Operation
  who: Who
  path: Record<string, string>
  query: [name: string, value: string][]
  headers: Record<string, string>
  /** The text of the body, and how it is called. */
  body: { type: string | undefined; text: string } | undefined
}

export const SECRET = '$SECRET'

/** What people write and the service shows again, so that a secret there is found by right. */
const SHOWN_AGAIN = new Set(['name', 'slug', 'client_id', 'purpose', 'return_url', 'scopes'])
/** What only the scene can know. */
const KNOWN: Record<string, unknown[]> = {
  organization: ['acme', 'globex'],
  organizations: ['acme', 'globex', '*'],
  instance_id: ['$instance'],
  connection_id: ['$connection'],
  proxy_url: ['http://127.0.0.1:1'],
  ssh_hosts: ['ssh.example.com', 'ssh.example.com:2222'],
  labels: [{ team: 'payments' }, {}],
  base_url: [
    '$gitlab',
    'https://10.0.0.7',
    'https://169.254.169.254',
    'https://[::1]:1',
    'http://127.0.0.1:1',
  ],
  url: [
    '$gitlab/acme/web-shop',
    '$gitlab/acme',
    '$gitlab/globex/site.git',
    'git@$host:acme/web-shop.git',
    'ssh://x/y',
  ],
  oauth_app: ['simulator'],
  slug: ['simulator', 'an-app'],
  token: ['$token', '$dead'],
  access_token: ['$oauth', '$token'],
  refresh_token: ['$refresh', '$token'],
  session: ['$session'],
  group: ['acme', 'globex', 'acme/web-shop'],
  return_url: ['https://app.example.com/done', 'https://evil.example'],
}

const NASTY = [
  '',
  ' ',
  '\0',
  '\ud83d',
  '👍',
  '‮',
  '../..',
  "' or 1=1--",
  '<script>',
  '%00',
  '{{7*7}}',
  'constructor',
  '__proto__',
  'x'.repeat(5_000),
  '9'.repeat(400),
  '-1',
  '1e309',
  'NaN',
  'null',
  '2026-02-30T00:00:00Z',
  '9999-12-31T23:59:59-23:59',
  '0000-01-01',
]

const junk = (name: string): Arbitrary<unknown> =>
  fc.oneof(
    fc.constantFrom<unknown>(...NASTY),
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.jsonValue({ maxDepth: 3 }),
    fc.constantFrom<unknown>(null, true, 0, -1, 1.5, 2 ** 53, [], {}, [[]], [null], { a: { b: [] } }),
    ...(SHOWN_AGAIN.has(name)
      ? []
      : [fc.constantFrom<unknown>(SECRET, [SECRET], { [SECRET]: SECRET }, `${SECRET}\0`, `${SECRET} `)]),
  )

const textOf = ({ format, pattern, minLength = 0, maxLength = 60 }: Schema): Arbitrary<string> => {
  if (format === 'uuid') return fc.uuid()
  if (format === 'date-time' || format === 'date') {
    const bounds = { min: new Date('0001-01-02'), max: new Date('9999-12-30'), noInvalidDate: true }
    return fc.date(bounds).map((date) => date.toISOString().slice(0, format === 'date' ? 10 : undefined))
  }
  if (pattern !== undefined)
    return fc.stringMatching(new RegExp(pattern), { maxLength: Math.min(maxLength, 60) })
  return fc.string({ unit: 'grapheme', minLength, maxLength: Math.min(maxLength, minLength + 40) })
}

/** What a schema accepts; examples and what the scene knows more often than chance would. */
export const validOf = (name: string, schema: Schema): Arbitrary<unknown> => {
  const { type, anyOf, items, properties, examples = [] } = schema
  const known: unknown[] = [...(KNOWN[name] ?? []), ...(name in KNOWN ? [] : examples)]
  const biased = (arbitrary: Arbitrary<unknown>): Arbitrary<unknown> =>
    known.length === 0
      ? arbitrary
      : fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...known) }, { weight: 1, arbitrary })
  if (schema.enum) return fc.constantFrom(...schema.enum)
  if (anyOf) return fc.oneof(...anyOf.map((choice) => validOf(name, choice)))
  switch (Array.isArray(type) ? type[0] : type) {
    case 'integer':
      return fc.integer({ min: schema.minimum ?? 0, max: schema.maximum ?? 1_000_000 })
    case 'boolean':
      return fc.boolean()
    case 'null':
      return fc.constant(null)
    case 'array':
      return fc.uniqueArray(validOf(name, items ?? {}), { minLength: schema.minItems ?? 0, maxLength: 4 })
    case 'object':
      return biased(validObject(properties ?? {}, schema.required ?? []))
    default:
      return biased(textOf(schema))
  }
}

/**
 * A base URL is never left out: the default of the service is a server on the internet. Each further member is one more
 * that may not fit the others, so every other object has none but what it must have.
 */
const validObject = (properties: Record<string, Schema>, required: string[]): Arbitrary<object> => {
  const needed = [...required, ...('base_url' in properties ? ['base_url'] : [])]
  const membersOf = (names: string[]) =>
    Object.fromEntries(
      names.flatMap((name) => (properties[name] ? [[name, validOf(name, properties[name])]] : [])),
    )
  return fc.oneof(
    fc.record(membersOf(Object.keys(properties)), { requiredKeys: needed }),
    fc.record(membersOf(needed)),
  )
}

/** A body that would do, with one thing wrong. */
const spoiled = (schema: Schema): Arbitrary<string> => {
  const { properties = {}, required = [] } = schema
  const valid = validObject(properties, required)
  const wrongField = fc.oneof(
    ...Object.keys(properties).map((name) =>
      fc.tuple(valid, junk(name)).map(([body, value]) => JSON.stringify({ ...body, [name]: value })),
    ),
  )
  const extraField = fc
    .tuple(valid, fc.constantFrom(SECRET, `${SECRET}\0`, `a/${SECRET}`, '', 'constructor'), fc.jsonValue())
    .map(([body, name, value]) => JSON.stringify({ ...body, [name]: value }))
  const twice = valid.map((body) => JSON.stringify(body).replace('{', `{"${SECRET}":1,"${SECRET}":2,`))
  const deep = fc
    .tuple(valid, fc.integer({ min: 1, max: 9_000 }))
    .map(([body, levels]) =>
      JSON.stringify(body).replace('{', `{"x":${'['.repeat(levels)}${']'.repeat(levels)},`),
    )
  const cut = fc.tuple(valid, fc.nat(200)).map(([body, length]) => JSON.stringify(body).slice(0, length))
  return fc.oneof(wrongField, extraField, twice, deep, cut)
}

const TYPES = [
  undefined,
  'application/json; charset=utf-8',
  'text/plain',
  'application/x-www-form-urlencoded',
  'multipart/form-data',
  `text/${SECRET}`,
]

const bodyOf = ({ body, method }: Operation): Arbitrary<FuzzRequest['body']> => {
  const type = fc.oneof(
    { weight: 20, arbitrary: fc.constant('application/json') },
    { weight: 1, arbitrary: fc.constantFrom(...TYPES) },
  )
  const anything = fc.oneof(
    junk('').map((value) => JSON.stringify(value) ?? ''),
    fc.constantFrom('', SECRET, `{"${SECRET}":`, `token=${SECRET}&${SECRET}=1`, '[]', 'null', '{}'),
  )
  const withType = (text: Arbitrary<string>) => fc.record({ type, text })
  if (method === 'GET') return fc.constant(undefined)
  if (!body)
    return fc.oneof(
      { weight: 8, arbitrary: fc.constant(undefined) },
      { weight: 1, arbitrary: withType(anything) },
    )
  return fc.oneof(
    { weight: 10, arbitrary: withType(validOf('', body).map((value) => JSON.stringify(value))) },
    { weight: 8, arbitrary: withType(spoiled(body)) },
    { weight: 2, arbitrary: withType(anything) },
    { weight: 1, arbitrary: fc.constant(undefined) },
  )
}

/** Which of the scene's ids stands at a place. */
const idFor = (path: string): string =>
  path.includes('/connections/')
    ? '$connection'
    : path.includes('/leases/')
      ? '$lease'
      : path.includes('/oauth-apps/')
        ? '$app'
        : path.includes('/access-keys/')
          ? '$key'
          : '$instance'

const pathOf = ({ parameters, path }: Operation): Arbitrary<FuzzRequest['path']> => {
  const names = parameters.filter((parameter) => parameter.in === 'path')
  const partOf = ({ name, schema }: Parameter) =>
    fc.oneof(
      { weight: 12, arbitrary: fc.constant(name === 'id' ? idFor(path) : 'simulator') },
      { weight: 2, arbitrary: validOf(name, schema).map(String) },
      {
        weight: 2,
        arbitrary: fc.constantFrom(SECRET, `${SECRET}%00`, ...NASTY.filter((text) => text.length > 1)),
      },
    )
  return fc.record(Object.fromEntries(names.map((parameter) => [parameter.name, partOf(parameter)])))
}

const queryOf = ({ parameters }: Operation): Arbitrary<FuzzRequest['query']> => {
  const known = parameters.filter((parameter) => parameter.in === 'query')
  const one = (parameter: Parameter): Arbitrary<FuzzRequest['query']> => {
    const { name, schema, required } = parameter
    const valid = validOf(name, schema).map((value): FuzzRequest['query'] => [[name, String(value)]])
    const wrong = junk(name).map((value): FuzzRequest['query'] => [[name, String(JSON.stringify(value))]])
    return fc.oneof(
      { weight: 8, arbitrary: valid },
      { weight: 1, arbitrary: wrong },
      { weight: required ? 1 : 8, arbitrary: fc.constant<FuzzRequest['query']>([]) },
    )
  }
  const unknown = fc.oneof(
    { weight: 12, arbitrary: fc.constant<FuzzRequest['query']>([]) },
    {
      weight: 1,
      arbitrary: fc.constantFrom<FuzzRequest['query']>(
        [[SECRET, '1']],
        [['limit', SECRET]],
        [['__proto__[x]', SECRET]],
      ),
    },
  )
  return fc.tuple(...known.map(one), unknown).map((parts) => parts.flat())
}

const headers: Arbitrary<Record<string, string>> = fc.oneof(
  { weight: 10, arbitrary: fc.constant({}) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Record<string, string>>(
      { [`x-${SECRET}`]: SECRET },
      { accept: SECRET },
      { cookie: `connect-link=${SECRET}; ${SECRET}=1` },
      { 'x-forwarded-for': SECRET },
      { range: `bytes=0-${SECRET}` },
      { 'if-none-match': SECRET },
    ),
  },
)

const who: Arbitrary<Who> = fc.oneof(
  { weight: 10, arbitrary: fc.constant<Who>('admin') },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Who>('manager', 'scanner', 'admin of another', 'nobody', 'a stranger'),
  },
)

/** Any request that the description allows, or nearly does. */
export const requestOf = (operations: Operation[]): Arbitrary<FuzzRequest> =>
  fc.oneof(
    ...operations.map((operation) =>
      fc.record({
        operation: fc.constant(operation),
        who,
        path: pathOf(operation),
        query: queryOf(operation),
        headers,
        body: bodyOf(operation),
      }),
    ),
  )
