import { Ajv } from 'ajv'
import addFormatsModule from 'ajv-formats'
import type { FastifySchemaCompiler, FastifyServerOptions, preValidationHookHandler } from 'fastify'
import { invalidField } from '../errors/problem.ts'

// ajv-formats is CommonJS: its function is the default export of the default export.
const addFormats = addFormatsModule as unknown as (ajv: Ajv) => void

/** Without the `urn:uuid:` that the format of ajv-formats takes and PostgreSQL does not. */
const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i

const createAjv = (coerceTypes: boolean): Ajv => {
  const ajv = new Ajv({
    coerceTypes,
    useDefaults: true,
    removeAdditional: false,
    allErrors: true,
    strict: false,
  })
  addFormats(ajv)
  ajv.addFormat('uuid', UUID)
  const dateTime = ajv.formats['date-time'] as { validate(text: string): boolean }
  // A leap second (23:59:60) is a time by RFC 3339, and none in JavaScript.
  ajv.addFormat('date-time', (text) => dateTime.validate(text) && !Number.isNaN(Date.parse(text)))
  return ajv
}

type CompilersFactory = NonNullable<NonNullable<FastifyServerOptions['schemaController']>['compilersFactory']>

/**
 * Bodies are taken as they are; what comes in a URL is text and is converted. Unknown fields are faults in both.
 * For Fastify's option, not for setValidatorCompiler: a plugin that adds a schema of its own would go back to
 * Fastify's own validator, which drops unknown fields and converts types.
 */
export const createCompilersFactory = (): CompilersFactory => {
  const bodies = createAjv(false)
  const texts = createAjv(true)
  const compile: FastifySchemaCompiler<object> = ({ schema, httpPart }) =>
    (httpPart === 'body' ? bodies : texts).compile(schema)
  // The type describes Ajv's own compile; what Fastify calls is this.
  return { buildValidator: (() => compile) as unknown as NonNullable<CompilersFactory['buildValidator']> }
}

/** Where in a value of JSON a string holds U+0000: the path to it. */
const pathToNul = (value: unknown): string[] | undefined => {
  if (typeof value === 'string') return value.includes('\0') ? [] : undefined
  if (typeof value !== 'object' || value === null) return undefined
  for (const [name, member] of Object.entries(value)) {
    const path = pathToNul(member)
    if (path) return [name, ...path]
  }
  return undefined
}

/** A preValidation hook: PostgreSQL has no text with U+0000 in it, and no field of ours needs one. */
export const refuseNul: preValidationHookHandler = ({ params, query, body }, _reply, done) => {
  const path = pathToNul(params) ?? pathToNul(query) ?? pathToNul(body)
  done(path && invalidField(path.join('.') || 'body', 'holds the character U+0000'))
}
