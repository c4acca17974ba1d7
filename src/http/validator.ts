import { SerializerSelector } from '@fastify/fast-json-stringify-compiler'
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv'
import addFormatsModule from 'ajv-formats'
import type { FastifySchemaCompiler, FastifyServerOptions } from 'fastify'

// ajv-formats is CommonJS: its function is the default export of the default export.
const addFormats = addFormatsModule as unknown as (ajv: Ajv) => void

/** Without the `urn:uuid:` that the format of ajv-formats takes and PostgreSQL does not. */
const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i

/**
 * A leap second (23:59:60) is a time by RFC 3339, and none in JavaScript. Years that do not have four digits in UTC are
 * written differently by JavaScript and by PostgreSQL.
 */
const isStorableTime = (time: number): boolean => {
  const year = new Date(time).getUTCFullYear()
  return year >= 1 && year <= 9999
}

const createAjv = (coerceTypes: boolean): Ajv => {
  const ajv = new Ajv({
    coerceTypes,
    useDefaults: true,
    removeAdditional: false,
    allErrors: true,
    strict: false,
    // For the names that an object may have; withoutInput takes the input out again.
    verbose: true,
  })
  addFormats(ajv)
  ajv.addFormat('uuid', UUID)
  for (const name of ['date', 'date-time']) {
    const format = ajv.formats[name] as { validate(text: string): boolean } | ((text: string) => boolean)
    const isWellFormed = typeof format === 'function' ? format : format.validate
    ajv.addFormat(name, (text) => isWellFormed(text) && isStorableTime(Date.parse(text)))
  }
  return ajv
}

/** A fault of the input, without the input: no value, and no name that the schema does not have. */
export type InputFault = Pick<ErrorObject, 'instancePath' | 'keyword' | 'schemaPath'> & {
  message?: string
  params: { missingProperty?: string; allowedValues?: unknown[]; allowedValue?: unknown }
  /** For an unknown name: the names that are known there. */
  known?: string[]
}

/** Instead of "must match format": what a person has to write. */
const FORMATS: Record<string, string> = {
  uuid: 'must be a UUID, such as 01900000-0000-7000-8000-000000000001',
  'date-time': 'must be a time such as 2026-01-31T00:00:00Z (in a URL + is written %2B)',
}

/** A pattern in words, where the schema has them. */
const messageFor = ({ keyword, message = 'is not valid', params, parentSchema }: ErrorObject): string => {
  const form: unknown = parentSchema?.['x-form']
  if (keyword === 'pattern' && typeof form === 'string') return `must be ${form}`
  return (keyword === 'format' ? FORMATS[params.format] : undefined) ?? message
}

const toInputFault = (error: ErrorObject): InputFault => {
  const { instancePath, keyword, schemaPath, params, parentSchema } = error
  const fault = { instancePath, keyword, schemaPath, message: messageFor(error) }
  if (keyword !== 'additionalProperties') return { ...fault, params }
  return { ...fault, params: {}, known: Object.keys(parentSchema?.properties ?? {}) }
}

/** Compiled with the first request that needs it: compiling all at the start would double the time that a start takes. */
const onFirstUse = <Result>(compile: () => Result): (() => Result) => {
  let compiled: { result: Result } | undefined
  return () => {
    compiled ??= { result: compile() }
    return compiled.result
  }
}

const withoutInput = (compiled: () => ValidateFunction) => {
  const check = (value: unknown): boolean => {
    const validate = compiled()
    const isValid = validate(value) as boolean
    check.errors = isValid ? null : (validate.errors ?? []).map(toInputFault)
    return isValid
  }
  check.errors = null as InputFault[] | null
  return check
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
    withoutInput(onFirstUse(() => (httpPart === 'body' ? bodies : texts).compile(schema)))
  const selectSerializers = SerializerSelector()
  return {
    // The type describes Ajv's own compile; what Fastify calls is this.
    buildValidator: (() => compile) as unknown as NonNullable<CompilersFactory['buildValidator']>,
    buildSerializer:
      (...args) =>
      (route) => {
        // A compiler of its own for each: one that compiled a schema with an `$id` no longer finds it for the next.
        const serializer = onFirstUse(() => selectSerializers(...args)(route))
        return (answer) => serializer()(answer)
      },
  }
}
