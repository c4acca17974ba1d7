/** An answer other than success, thrown from wherever the reason is found. */
export class Refusal extends Error {
  readonly status: number
  readonly body: unknown
  readonly headers: Record<string, string>

  constructor(status: number, body: unknown, headers: Record<string, string> = {}) {
    super(`refused with ${status}`)
    this.status = status
    this.body = body
    this.headers = headers
  }
}

export const apiRefusal = (status: number, message: string): Refusal => new Refusal(status, { message })
