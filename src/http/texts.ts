import type { preValidationHookHandler } from 'fastify'
import { invalidField, type Problem } from '../errors/problem.ts'

type Schema = { properties?: Record<string, Schema>; items?: Schema }

/** Why a text cannot be stored, or be written as UTF-8; undefined = it can. */
const faultOf = (text: string): string | undefined => {
  if (text.includes('\0')) return 'holds the character U+0000'
  return text.isWellFormed() ? undefined : 'holds half of a surrogate pair'
}

type Finding = { path: string[]; fault: string }

const findFault = (value: unknown): Finding | undefined => {
  if (typeof value === 'string') {
    const fault = faultOf(value)
    return fault === undefined ? undefined : { path: [], fault }
  }
  if (typeof value !== 'object' || value === null) return undefined
  for (const [name, member] of Object.entries(value)) {
    const inName = faultOf(name)
    if (inName !== undefined) return { path: [], fault: `has a name that ${inName}` }
    const found = findFault(member)
    if (found) return { ...found, path: [name, ...found.path] }
  }
  return undefined
}

/** The part of a path that the schema knows: what a caller made up is not repeated. */
const knownPart = (path: string[], schema: unknown): string[] => {
  const [name, ...rest] = path
  if (name === undefined) return []
  const { properties, items } = (schema ?? {}) as Schema
  if (properties && Object.hasOwn(properties, name)) return [name, ...knownPart(rest, properties[name])]
  return items && /^\d+$/.test(name) ? [name, ...knownPart(rest, items)] : []
}

/** @param schemaOf is asked only where there is a fault: most requests have none. */
export const refusalOf = (part: string, value: unknown, schemaOf: () => unknown): Problem | undefined => {
  const found = findFault(value)
  if (!found) return undefined
  return invalidField(knownPart(found.path, schemaOf()).join('.') || part, found.fault)
}

/**
 * A preValidation hook: PostgreSQL stores no U+0000, UTF-8 has no half of a pair, and no field of ours needs either.
 * A route that reads the faults of its body itself (`attachValidation`) looks for these, too.
 */
export const refuseUnstorableTexts: preValidationHookHandler = (request, _reply, done) => {
  const { params, query, body } = request
  const schema = () => request.routeOptions.schema
  const problem =
    refusalOf('path', params, () => schema()?.params) ??
    refusalOf('query', query, () => schema()?.querystring)
  if (problem) return done(problem)
  const inBody = refusalOf('body', body, () => schema()?.body)
  done(inBody && request.routeOptions.attachValidation ? undefined : inBody)
}
