import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { isDatabaseUnavailable } from '../db/database.ts'
import { type ProblemCode, statusOf, titleOf } from '../errors/catalogue.ts'
import { type FieldError, Problem } from '../errors/problem.ts'
import { messageOf } from '../log.ts'
import { PROBLEM_MEDIA_TYPE } from './problem-schema.ts'
import type { InputFault } from './validator.ts'

const DATABASE_RETRY_SECONDS = 5
/** States, not events: each change is logged where it is seen, and a line for each request would bury it. */
const STATES: ReadonlySet<ProblemCode> = new Set(['database_unavailable', 'draining', 'not_ready'])

/** How messages call a part of the request. */
const PARTS: Record<string, string> = { params: 'path', querystring: 'query' }

const pathOf = ({ instancePath }: InputFault): string[] => instancePath.split('/').filter(Boolean)

/** Names the field and what is wrong with it. Never repeats the value, nor a name that is unknown: either may be a secret. */
const toFieldError = (fault: InputFault, part: string): FieldError => {
  const { keyword, message, params, known = [] } = fault
  const path = pathOf(fault)
  if (keyword === 'required' && params.missingProperty)
    return { field: [...path, params.missingProperty].join('.'), message: 'is required' }
  const field = path.join('.') || part
  if (keyword === 'additionalProperties') {
    const names = known.length > 0 ? `known are ${known.join(', ')}` : 'none is known'
    return { field, message: `has an unknown field; ${names}` }
  }
  if (keyword === 'enum') return { field, message: `must be one of ${params.allowedValues?.join(', ')}` }
  return { field, message: message ?? 'is not valid' }
}

/** A choice between literals fails once for each, and once as a whole: one message says what is possible. */
const toFieldErrors = (faults: InputFault[], part: string): FieldError[] => {
  const unknown = new Set<string>()
  const literals = Map.groupBy(
    faults.filter(({ keyword }) => keyword === 'const'),
    ({ instancePath }) => instancePath,
  )
  return faults.flatMap((fault) => {
    const { keyword, instancePath } = fault
    const choices = literals.get(instancePath) ?? []
    // One message for all unknown names of an object.
    if (keyword === 'additionalProperties' && unknown.size === unknown.add(instancePath).size) return []
    if (keyword === 'anyOf' || (keyword === 'type' && choices.length > 1)) return []
    if (keyword !== 'const') return [toFieldError(fault, part)]
    if (fault !== choices[0]) return []
    const allowedValues = choices.map(({ params }) => params?.allowedValue)
    return [toFieldError({ ...fault, keyword: 'enum', params: { allowedValues } }, part)]
  })
}

/** @param part how messages call the part of the request, where no field of it is meant */
export const toInvalidRequest = (faults: InputFault[], part: string): Problem => {
  const errors = toFieldErrors(faults, part)
  const detail = errors.map(({ field, message }) => `${field} ${message}`).join('; ')
  return new Problem('invalid_request', `${detail}.`, { errors })
}

/** Turns whatever was thrown into a problem; undefined when it is unexpected. */
export const toProblem = (error: FastifyError | Problem): Problem | undefined => {
  if (error instanceof Problem) return error
  if (isDatabaseUnavailable(error)) {
    return new Problem('database_unavailable', 'The database does not answer in time right now.', {
      retryAfterSeconds: DATABASE_RETRY_SECONDS,
    })
  }
  if (error.validation) {
    const faults = error.validation as unknown as InputFault[]
    const context = error.validationContext ?? 'request'
    return toInvalidRequest(faults, PARTS[context] ?? context)
  }
  switch (error.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new Problem('payload_too_large')
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new Problem('unsupported_media_type', 'Send the body as application/json.')
  }
  if (typeof error.statusCode === 'number' && error.statusCode >= 400 && error.statusCode < 500) {
    // Fastify's own 4xx: a body that is no JSON, a URL that cannot be decoded, a wrong length.
    return new Problem(
      'invalid_request',
      'The request cannot be read: its body is not valid JSON, or its URL is malformed.',
    )
  }
  return undefined
}

/** RFC 9457. */
export const problemDocument = ({ code, message, extras }: Problem, requestId: string): object => ({
  type: 'about:blank',
  title: titleOf(code),
  status: statusOf(code),
  detail: message,
  code,
  request_id: requestId,
  ...(extras.errors ? { errors: extras.errors } : {}),
  ...extras.members,
})

export const answerProblem = (
  request: FastifyRequest,
  reply: FastifyReply,
  problem: Problem,
): FastifyReply => {
  const { code, extras } = problem
  const status = statusOf(code)
  if (extras.retryAfterSeconds !== undefined)
    reply.header('retry-after', Math.max(1, Math.ceil(extras.retryAfterSeconds)))
  if (status === 401) reply.header('www-authenticate', 'Bearer realm="gitlab-token-broker"')
  return reply
    .code(status)
    .header('cache-control', 'no-store')
    .type(PROBLEM_MEDIA_TYPE)
    .serializer((text: string) => text)
    .send(JSON.stringify(problemDocument(problem, request.id)))
}

/** Without the stack: in an outage there is one for each request, and all are the same. */
const causeOf = (error: unknown): string => {
  const { code } = error as { code?: unknown }
  const message = error instanceof Error ? messageOf(error) : ''
  return [code, message].filter((part) => typeof part === 'string' && part !== '').join(': ')
}

export const answerError = (error: unknown, request: FastifyRequest, reply: FastifyReply): void => {
  const problem = toProblem(error as FastifyError)
  if (problem === undefined) request.log.error({ err: error, request_id: request.id }, 'unexpected error')
  else if (statusOf(problem.code) >= 500)
    request.log[STATES.has(problem.code) ? 'debug' : 'warn'](
      { code: problem.code, request_id: request.id, ...(error === problem ? {} : { cause: causeOf(error) }) },
      problem.message,
    )
  answerProblem(
    request,
    reply,
    problem ??
      new Problem('internal_error', 'Something went wrong here; the log has it under the request_id.'),
  )
}

export const answerNotFound = (request: FastifyRequest, reply: FastifyReply): void => {
  answerProblem(request, reply, new Problem('not_found', 'There is no such path, or not for this method.'))
}
