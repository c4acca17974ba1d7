export const OUTCOMES = ['pass', 'warn', 'fail', 'skipped'] as const

export type CheckResult = {
  outcome: (typeof OUTCOMES)[number]
  /** What was found, for people. */
  detail: string
  /** What to do about it; null = nothing. */
  cure: string | null
}

export const passed = (detail: string): CheckResult => ({ outcome: 'pass', detail, cure: null })
export const skipped = (detail: string): CheckResult => ({ outcome: 'skipped', detail, cure: null })
export const warned = (detail: string, cure: string): CheckResult => ({ outcome: 'warn', detail, cure })
export const failed = (detail: string, cure: string): CheckResult => ({ outcome: 'fail', detail, cure })
