import type { Logger } from 'pino'

/** Runs work on many items, a few at a time. */
export type Lanes = {
  /** When the work on an item throws, that is logged and the others go on. @param name of the job, for the log. */
  forEach<Item extends { id: string }>(
    items: Item[],
    name: string,
    work: (item: Item) => Promise<unknown>,
  ): Promise<void>
  /** Starts nothing more, and waits for the work under way: an answer of GitLab may be the only copy of a token. */
  stop(): Promise<void>
}

export const createLanes = ({ atOnce, logger }: { atOnce: number; logger: Logger }): Lanes => {
  let stopping = false
  const underWay = new Set<Promise<unknown>>()
  return {
    async forEach(items, name, work) {
      const queue = items.values()
      const runLane = async () => {
        for (const item of queue) {
          if (stopping) return
          const working = work(item).catch((error: unknown) =>
            logger.warn(
              { job: name, subject_id: item.id, reason: error instanceof Error ? error.message : undefined },
              'not done yet',
            ),
          )
          underWay.add(working)
          await working
          underWay.delete(working)
        }
      }
      await Promise.all(Array.from({ length: atOnce }, runLane))
    },
    async stop() {
      stopping = true
      await Promise.all(underWay)
    },
  }
}
