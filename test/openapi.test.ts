import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { parse } from 'yaml'
import { CATALOGUE, type ProblemCode } from '../src/errors/catalogue.ts'
import { startTestBroker } from './support/broker.ts'

const ROOT = join(import.meta.dirname, '..')
const PROBLEM = 'application/problem+json'
const LEAST_OPERATIONS = 20

type Problem = { code: ProblemCode; status: number; title: string; type: string }
type Property = { examples?: unknown[]; enum?: unknown[]; default?: unknown }
type Content = {
  example?: unknown
  examples?: Record<string, { $ref: string }>
  schema: {
    $ref?: string
    anyOf?: { $ref?: string }[]
    required?: string[]
    properties?: Record<string, Property>
  }
}
type Operation = {
  operationId?: string
  summary?: string
  tags?: string[]
  security?: Record<string, unknown>[]
  description?: string
  parameters?: { name: string; in: string; description?: string; example?: unknown }[]
  requestBody?: { content: Record<string, Content> }
  responses: Record<
    string,
    { description: string; headers?: Record<string, unknown>; content?: Record<string, Content> }
  >
}
type Description = {
  paths: Record<string, Record<string, Operation>>
  security: unknown[]
  components: {
    examples: Record<string, { value: Problem }>
    schemas: Record<string, object> & { Problem: { properties: { code: { enum: string[] } } } }
  }
}

const committed = await readFile(join(ROOT, 'openapi.yaml'), 'utf8')
const description = parse(committed) as Description
const operations = Object.entries(description.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({
    name: `${method.toUpperCase()} ${path}`,
    operation,
  })),
)
const problemsOf = ({ responses }: Operation): { status: string; key: string; value: Problem }[] =>
  Object.entries(responses).flatMap(([status, { content }]) =>
    Object.entries(content?.[PROBLEM]?.examples ?? {}).map(([key, { $ref }]) => ({
      status,
      key,
      value: description.components.examples[$ref.replace('#/components/examples/', '')]!.value,
    })),
  )

/** Problems that can say when to ask again. */
const RETRYABLE: ProblemCode[] = [
  'token_in_use',
  'gitlab_unavailable',
  'oauth_app_rejected',
  'database_unavailable',
]

/** Members that a problem has beside those that all have. */
const FURTHER_MEMBERS: [ProblemCode, string[]][] = [
  ['invalid_request', ['errors']],
  ['token_in_use', ['leased_until']],
  ['missing_scopes', ['missing_scopes']],
  ['no_connection_for_url', ['candidates']],
  ['needs_reauthorization', ['connection_id', 'status_reason']],
  ['connection_expired', ['connection_id', 'status_reason']],
  ['connection_revoked', ['connection_id', 'status_reason']],
  ['min_ttl_unattainable', ['connection_id', 'expires_at']],
  ['token_works', ['connection_id', 'scopes']],
]

/** Of the whole body, or of each field that it must have: Swagger UI fills in either. */
const hasExample = ({ example, schema: { required = [], properties = {} } }: Content): boolean =>
  example !== undefined ||
  (required.length > 0 &&
    required.every((name) => {
      const { examples, enum: values, default: fallback } = properties[name] ?? {}
      return examples !== undefined || values !== undefined || fallback !== undefined
    }))

t.test('openapi.yaml is what the code describes, and what a running service answers', async (t) => {
  const { stdout } = await promisify(execFile)(process.execPath, ['src/cli.ts', 'openapi'], {
    cwd: ROOT,
    maxBuffer: 2 ** 24,
  })
  t.ok(stdout === committed, 'npm run fix writes it anew')

  const broker = await startTestBroker(t)
  const served = await broker.get('/openapi.yaml', { key: null })
  t.equal(served.status, 200)
  t.ok(served.text === committed)
})

t.test('every code of the catalogue is in openapi.yaml, with its status and title', async (t) => {
  t.same(description.components.schemas.Problem.properties.code.enum, Object.keys(CATALOGUE))

  const answered = new Set(
    operations.flatMap(({ operation }) => problemsOf(operation).map(({ value }) => value.code)),
  )
  // Browsers get these in a redirect, so the operations say them in words.
  const inWords = operations
    .filter(({ operation }) => operation.tags?.includes('Browser'))
    .map(({ operation }) => operation.description ?? '')
    .join(' ')
  const missing = Object.keys(CATALOGUE).filter(
    (code) => !answered.has(code as ProblemCode) && !new RegExp(`\\b${code}\\b`).test(inWords),
  )
  t.same(missing, [], 'a code that no operation answers is no part of the contract')
})

t.test('every code in openapi.yaml is in the catalogue, under the status it stands for', async (t) => {
  let seen = 0
  for (const { name, operation } of operations) {
    for (const { status, key, value } of problemsOf(operation)) {
      const known = CATALOGUE[value.code]
      t.ok(known, `${name}: ${value.code}`)
      t.same(
        { key, status: Number(status), inBody: value.status, title: value.title },
        { key: value.code, status: known?.[0], inBody: known?.[0], title: known?.[1] },
        `${name}: ${value.code}`,
      )
      seen += 1
    }
  }
  t.ok(seen > operations.length, `${seen} problem answers`)
})

/** Answers errors as OAuth has them, and identifies its caller by a parameter. */
const OF_OAUTH = 'POST /v1/token'
/** Answer in lines, as Git has them, whatever the answer is. */
const OF_GIT = / \/v1\/git-credential\//
const failureTypeOf = (name: string): string =>
  name === OF_OAUTH ? 'application/json' : OF_GIT.test(name) ? 'text/plain' : PROBLEM

t.test('every operation says what it does and how it fails', async (t) => {
  t.ok(operations.length > LEAST_OPERATIONS, `${operations.length} operations`)
  const ids = operations.map(({ operation }) => operation.operationId)
  t.equal(new Set(ids).size, operations.length, 'operation ids are unique')

  for (const { name, operation } of operations) {
    t.ok(operation.operationId && operation.summary && operation.tags?.length === 1, name)
    const isOpen = operation.security?.length === 0
    t.equal(
      isOpen,
      !name.includes(' /v1/') || name === OF_OAUTH,
      `${name}: behind an access key, or said not to be`,
    )
    const codes = problemsOf(operation).map(({ value }) => value.code)
    const expected = [
      'invalid_request',
      'internal_error',
      'database_unavailable',
      ...(isOpen ? [] : ['unauthorized', 'forbidden']),
      ...(operation.requestBody ? ['payload_too_large', 'unsupported_media_type'] : []),
    ]
    if (failureTypeOf(name) === PROBLEM)
      for (const code of expected) t.ok(codes.includes(code as ProblemCode), `${name} can answer ${code}`)
    for (const [type, content] of Object.entries(operation.requestBody?.content ?? {}))
      t.ok(hasExample(content), `${name}: an example of its ${type} body`)
    for (const parameter of operation.parameters ?? [])
      t.ok(parameter.description, `${name}: what ${parameter.name} is`)
    for (const [status, { content }] of Object.entries(operation.responses))
      if (Number(status) >= 400) {
        t.same(Object.keys(content ?? {}), [failureTypeOf(name)], `${name}: ${status}`)
      }
  }
})

t.test('every answer has a schema with a name, and every id an example', async (t) => {
  const { schemas } = description.components
  for (const { name, operation } of operations) {
    for (const [status, { content, description }] of Object.entries(operation.responses)) {
      t.ok(description && description !== 'Default Response', `${name}: what ${status} means`)
      const json = content?.['application/json']
      if (!json) continue
      for (const { $ref = '' } of json.schema.anyOf ?? [json.schema]) {
        const [, schema = ''] = /^#\/components\/schemas\/(\w+)$/.exec($ref) ?? []
        t.ok(schemas[schema], `${name}: ${status} is ${schema}`)
      }
    }
    for (const parameter of operation.parameters ?? [])
      if (parameter.name === 'id')
        t.match(parameter, { in: 'path', description: /id/, example: /^[0-9a-f-]{36}$/ }, name)
  }
  t.notMatch(committed, /[:-] [&*]a\d+$/m, 'no anchors: some readers refuse them')
})

t.test('problems say what else they have, and when to ask again', async (t) => {
  const { properties } = description.components.schemas.Problem
  const all = operations.flatMap(({ operation }) => problemsOf(operation))
  for (const [code, members] of FURTHER_MEMBERS) {
    const found = all.find(({ value }) => value.code === code)
    for (const member of members) {
      t.ok(found && member in found.value, `${code} has ${member}`)
      t.match(properties, { [member]: { description: String } }, `${member} is described`)
    }
  }
  for (const { name, operation } of operations)
    for (const { status, value } of problemsOf(operation))
      if (RETRYABLE.includes(value.code))
        t.match(
          operation.responses[status]?.headers?.['Retry-After'],
          { schema: { type: 'integer' }, description: /Seconds/ },
          `${name}: ${value.code}`,
        )
})
