import { type Action, actionFor } from './actions.ts'
import type { Problem } from './generated.ts'

/** A refusal of the broker. Holds no secret. */
export class BrokerProblem extends Error {
  /** Stable: branch on the code. */
  readonly code: string
  readonly status: number
  readonly action: Action
  /** Seconds after which asking again makes sense, where the broker says so. */
  readonly retryAfterSeconds: number | undefined
  /** The whole document (RFC 9457); undefined when what answered was no broker. */
  readonly problem: Problem | undefined

  constructor(
    { code, status, detail }: { code: string; status: number; detail: string },
    { problem, retryAfterSeconds }: { problem?: Problem; retryAfterSeconds?: number } = {},
  ) {
    super(`${detail} (${code})`)
    this.name = 'BrokerProblem'
    this.code = code
    this.status = status
    this.action = actionFor(code, status)
    this.retryAfterSeconds = retryAfterSeconds
    this.problem = problem
  }
}

const isProblem = (data: unknown): data is Problem =>
  typeof data === 'object' && data !== null && 'code' in data && 'detail' in data

const readSeconds = (value: unknown): number | undefined => {
  const seconds = Number(value ?? Number.NaN)
  return Number.isFinite(seconds) && seconds >= 0 ? seconds : undefined
}

/** @param data the answer, or one result of a batch */
export const toBrokerProblem = (status: number, data: unknown, headers?: Headers): BrokerProblem => {
  if (!isProblem(data))
    return new BrokerProblem({
      code: 'unexpected_answer',
      status,
      detail: `The broker's address answered ${status}, and not as a broker does`,
    })
  const { retry_after } = data as { retry_after?: unknown }
  const seconds = readSeconds(headers?.get('retry-after') ?? retry_after)
  return new BrokerProblem(
    { code: data.code, status: data.status, detail: data.detail },
    { problem: data, ...(seconds === undefined ? {} : { retryAfterSeconds: seconds }) },
  )
}

/** There was no answer. Messages of fetch may hold headers or the URL: the code of the cause tells enough. */
export const toUnreachable = (error: unknown): BrokerProblem => {
  const { cause, name } = error as Error & { cause?: { code?: string } }
  return new BrokerProblem({
    code: 'broker_unreachable',
    status: 503,
    detail: `The broker cannot be reached: ${cause?.code ?? name}`,
  })
}
