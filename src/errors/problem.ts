import { type ProblemCode, titleOf } from './catalogue.ts'

/** @property reason a code for programs, where a field has several ways to be wrong. */
export type FieldError = { field: string; message: string; reason?: string }

export type ProblemExtras = {
  /** What is wrong with which field of the input. */
  errors?: FieldError[]
  /** Seconds after which asking again makes sense; becomes the Retry-After header. */
  retryAfterSeconds?: number
  /** Further members of the problem document (RFC 9457, section 3.2). */
  members?: Record<string, unknown>
}

/**
 * An expected refusal: thrown anywhere, answered as application/problem+json (RFC 9457).
 * `detail` is read by people and must hold no secret.
 */
export class Problem extends Error {
  readonly code: ProblemCode
  readonly extras: ProblemExtras

  constructor(code: ProblemCode, detail?: string, extras: ProblemExtras = {}) {
    super(detail ?? titleOf(code))
    this.name = 'Problem'
    this.code = code
    this.extras = extras
  }
}

export const notFound = (what: string): Problem => new Problem('not_found', `There is no such ${what}.`)

export const invalidField = (field: string, message: string): Problem =>
  new Problem('invalid_request', `${field} ${message}`, { errors: [{ field, message }] })
