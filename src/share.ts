/**
 * Calls that arrive while one is under way share the next.
 *
 * - None under way: the next is sent at the end of this turn of the event loop.
 * - One under way, with fewer than FULL calls: the next is sent once as many wait as the one under way has, so that the
 *   other side works while the answers go out.
 * - One under way with FULL or more, or two under way: the next waits for an answer. The fuller one is, the less each
 *   of its calls costs.
 * - One that takes longer than SLOW_MS (the disk is slow) no longer counts as under way, up to MOST_UNDER_WAY.
 */
const FULL = 32
const SLOW_MS = 25
const MOST_UNDER_WAY = 4
/** One stays this short, so that many calls do not wait for the slowest of them. */
const LARGEST_BATCH = 200

export type SharingOptions = { slowMs?: number | undefined }

/**
 * @param run answers each request of a batch, in their order. When it fails, every call of the batch does.
 * @returns what runs one request within a batch.
 */
export const shareCalls = <Request, Result>(
  run: (requests: Request[]) => Promise<Result[]>,
  { slowMs = SLOW_MS }: SharingOptions = {},
): ((request: Request) => Promise<Result>) => {
  type Waiting = {
    request: Request
    resolve: (result: Result) => void
    reject: (error: unknown) => void
  }
  let waiting: Waiting[] = []
  let underWay = 0
  /** A new array each time: the tables of a Set keep each other, and every call in them, from being collected. */
  let prompt: Waiting[][] = []
  let isScheduled = false

  const send = async (): Promise<void> => {
    const batch = waiting.slice(0, LARGEST_BATCH)
    waiting = waiting.slice(LARGEST_BATCH)
    underWay += 1
    prompt = [...prompt, batch]
    const isNoLongerPrompt = () => {
      prompt = prompt.filter((other) => other !== batch)
      schedule()
    }
    const slow = setTimeout(isNoLongerPrompt, slowMs)
    try {
      const results = await run(batch.map(({ request }) => request))
      for (const [index, { resolve }] of batch.entries()) resolve(results[index] as Result)
    } catch (error) {
      for (const { reject } of batch) reject(error)
    } finally {
      clearTimeout(slow)
      underWay -= 1
      isNoLongerPrompt()
    }
  }

  const isFree = (): boolean => {
    const [first, second] = prompt
    if (underWay >= MOST_UNDER_WAY || second) return false
    return !first || (first.length < FULL && waiting.length >= first.length)
  }

  /** Sends at the end of this turn of the event loop, which may bring more calls. */
  const schedule = (): void => {
    if (isScheduled || waiting.length === 0) return
    isScheduled = true
    setImmediate(() => {
      isScheduled = false
      if (isFree()) void send()
    })
  }

  return (request) =>
    new Promise((resolve, reject) => {
      waiting.push({ request, resolve, reject })
      schedule()
    })
}
