import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import addFormatsModule from 'ajv-formats'
import { parse } from 'yaml'

export type Schema = {
  type?: string | string[]
  enum?: unknown[]
  anyOf?: Schema[]
  format?: string
  pattern?: string
  minLength?: number
  maxLength?: number
  minimum?: number
  maximum?: number
  minItems?: number
  maxItems?: number
  items?: Schema
  properties?: Record<string, Schema>
  required?: string[]
  examples?: unknown[]
}
export type Parameter = { name: string; in: 'path' | 'query'; required?: boolean; schema: Schema }
type Content = Record<string, { examples?: Record<string, unknown> }>
export type Operation = {
  id: string
  method: string
  /** With {names} in it. */
  path: string
  isOpen: boolean
  parameters: Parameter[]
  body: Schema | undefined
  responses: Record<string, { content?: Content }>
}
type Described = {
  operationId: string
  security?: unknown[]
  parameters?: Parameter[]
  requestBody?: { content: Record<string, { schema: Schema }> }
  responses: Operation['responses']
}

// ajv-formats is CommonJS: its function is the default export of the default export.
const addFormats = addFormatsModule as unknown as (ajv: unknown) => void
const pointer = (...parts: string[]): string =>
  parts.map((part) => `/${part.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')

/** The operations of openapi.yaml, and what checks an answer against its schema there. */
export const readDescription = async () => {
  const text = await readFile(join(import.meta.dirname, '../../openapi.yaml'), 'utf8')
  const description = parse(text) as { paths: Record<string, Record<string, Described>> }
  const ajv = new Ajv2020({ strict: false, allErrors: true })
  addFormats(ajv)
  ajv.addSchema(description, 'openapi')
  const checks = new Map<string, ValidateFunction>()

  const operations = Object.entries(description.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(
      ([method, described]): Operation => ({
        id: described.operationId,
        method: method.toUpperCase(),
        path,
        isOpen: described.security?.length === 0,
        parameters: described.parameters ?? [],
        body: described.requestBody?.content['application/json']?.schema,
        responses: described.responses,
      }),
    ),
  )
  return {
    operations,
    /** Checks a body against the schema of an answer of this status and type. */
    checkOf({ method, path }: Operation, status: string, type: string): ValidateFunction {
      const part = pointer(
        'paths',
        path,
        method.toLowerCase(),
        'responses',
        status,
        'content',
        type,
        'schema',
      )
      const $ref = `openapi#${encodeURI(part)}`
      const check = checks.get($ref) ?? ajv.compile({ $ref })
      checks.set($ref, check)
      return check
    },
  }
}

export type Description = Awaited<ReturnType<typeof readDescription>>
