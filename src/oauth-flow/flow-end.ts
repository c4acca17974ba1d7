import type { FlowResult } from '../connect-sessions/connect-session.ts'
import type { Receipt } from '../connect-sessions/receipt.ts'
import type { ProblemCode } from '../errors/catalogue.ts'

export type EndedFlow = {
  kind: 'ended'
  result: FlowResult
  /** Where the platform expects the person; null = on our own page. */
  returnUrl: string | null
  /** For the browser that connected. */
  receipt?: Receipt
}

/** How a flow came out, for the browser. */
export type FlowEnd =
  | EndedFlow
  /** GitLab issued tokens, and a person has to say yes before they become a connection. */
  | { kind: 'waits'; authorizationId: string; until: Date }

export const failed = (code: ProblemCode, returnUrl: string | null): EndedFlow => ({
  kind: 'ended',
  result: { status: 'failed', code },
  returnUrl,
})
