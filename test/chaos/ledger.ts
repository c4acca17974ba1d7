/** What the scanners met. */
export type Ledger = {
  /** By `200`, `409 token_in_use`, ..., `no answer`. */
  lookups: Map<string, number>
  rejections: Map<string, number>
  lookupMs: number[]
  uses: Map<string, number>
  /** Tokens that GitLab refused while their lease ran, where nobody may preempt. */
  brokenLeases: string[]
  /** The same where scanners preempt each other: what that option costs. */
  brokenByPreempt: number
  /** The same where no database knows of the lease any more: it was given in a gap of the history. */
  forgottenLeases: number
  /** Handed out although GitLab had replaced them before they were asked for. */
  spentTokens: string[]
  serverErrors: string[]
  /** A broker that was alive all the while and did not answer. */
  hanging: string[]
}

export const createLedger = (): Ledger => ({
  lookups: new Map(),
  rejections: new Map(),
  lookupMs: [],
  uses: new Map(),
  brokenLeases: [],
  brokenByPreempt: 0,
  forgottenLeases: 0,
  spentTokens: [],
  serverErrors: [],
  hanging: [],
})

export const count = (counts: Map<string, number>, name: string): void => {
  counts.set(name, (counts.get(name) ?? 0) + 1)
}
