/** One rolling restart of all replicas, and what the lookups met meanwhile. */
export type Step = {
  name: string
  /** Whether every replica of the version became ready. */
  isReady: boolean
  served: number
  failed: number
  /** Answers 500 in the logs of the replicas. */
  faults: number
}

/**
 * What is wrong with a run; nothing = passed.
 * @param isOneWay the earlier version is known not to live with the schema of this one: the way back may fail.
 */
export const judgeUpgrade = (steps: Step[], isOneWay: boolean): string[] =>
  steps.flatMap(({ name, isReady, served, failed, faults }) => {
    const isExpected = isOneWay && name === BACK
    return [
      ...(isReady || isExpected ? [] : [`${name}: a replica did not become ready`]),
      ...(served > 0 ? [] : [`${name}: no lookup was served`]),
      ...(failed > 0 ? [`${name}: ${failed} lookups failed`] : []),
      ...(faults > 0 ? [`${name}: ${faults} unexpected errors were logged`] : []),
    ]
  })

export const BACK = 'back to the earlier version'
