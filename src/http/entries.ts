import type { FastifyRequest } from 'fastify'
import type { Problem } from '../errors/problem.ts'
import { toInvalidRequest } from './errors.ts'
import { refusalOf } from './texts.ts'
import type { InputFault } from './validator.ts'

/** How messages call an entry, where no field of it is meant. */
const ENTRY = 'request'

type Entry = { position: number; fault: InputFault }

/** undefined: the fault is that of the body as a whole. */
const entryOf = (list: string, fault: InputFault): Entry | undefined => {
  const [root, name, position, ...path] = fault.instancePath.split('/')
  if (root !== '' || name !== list || position === undefined) return undefined
  return { position: Number(position), fault: { ...fault, instancePath: ['', ...path].join('/') } }
}

/** Fastify stops at the first part that has faults, and reads the body before the headers. */
const checkHeaders = (request: FastifyRequest): void => {
  const check = request.getValidationFunction('headers') as
    | (((headers: unknown) => boolean) & { errors?: InputFault[] | null })
    | undefined
  if (check && !check(request.headers)) throw toInvalidRequest(check.errors ?? [], 'headers')
}

/**
 * What is wrong with single entries of a list in the body, by position: the others are answered all the same. For a route
 * with `attachValidation`.
 * @throws {Problem} invalid_request: what is wrong with the request as a whole
 */
export const faultsOfEntries = (request: FastifyRequest, list: string): Map<number, Problem> => {
  const { validationError } = request
  const found = new Map<number, Problem>()
  if (validationError) {
    if (validationError.validationContext !== 'body') throw validationError
    const faults = validationError.validation as unknown as InputFault[]
    const ofBody = faults.filter((fault) => !entryOf(list, fault))
    if (ofBody.length > 0) throw toInvalidRequest(ofBody, 'body')
    checkHeaders(request)
    const entries = faults.flatMap((fault) => entryOf(list, fault) ?? [])
    for (const [position, ofEntry] of Map.groupBy(entries, (entry) => entry.position))
      found.set(
        position,
        toInvalidRequest(
          ofEntry.map(({ fault }) => fault),
          ENTRY,
        ),
      )
  }
  const schema = request.routeOptions.schema?.body as ListSchema | undefined
  const entries = (request.body as Record<string, unknown[]>)[list] ?? []
  for (const [position, entry] of entries.entries()) {
    const problem = found.has(position)
      ? undefined
      : refusalOf(ENTRY, entry, () => schema?.properties?.[list]?.items)
    if (problem) found.set(position, problem)
  }
  return found
}

type ListSchema = { properties?: Record<string, { items?: unknown }> }
