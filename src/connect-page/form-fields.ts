import type { TSchema } from 'typebox'
import { Value } from 'typebox/value'
import { invalidField } from '../errors/problem.ts'
import { LONGEST_PASTED, Organization } from '../http/schemas.ts'

/** Pure: text fields of a form or a query, which may hold anything. */

const LONGEST_FIELD = LONGEST_PASTED

/** Trimmed; undefined when it is missing, empty, too long or sent twice. */
export const readField = (fields: unknown, name: string): string | undefined => {
  const value = (fields as Record<string, unknown> | null | undefined)?.[name]
  if (typeof value !== 'string' || value.length > LONGEST_FIELD) return undefined
  return value.trim() || undefined
}

const readChecked = (schema: TSchema, fields: unknown, name: string): string | undefined => {
  const text = readField(fields, name)
  return text !== undefined && Value.Check(schema, text) ? text : undefined
}

/** @throws {Problem} invalid_request, for the field; never with what was in it. */
export const requireField = (fields: unknown, name: string): string => {
  const text = readField(fields, name)
  if (text === undefined) throw invalidField(name, 'is missing or too long')
  return text
}

export const readOrganization = (fields: unknown): string | undefined =>
  readChecked(Organization, fields, 'organization')

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
export const readId = (fields: unknown, name: string): string | undefined => {
  const text = readField(fields, name)
  return text !== undefined && UUID.test(text) ? text : undefined
}
