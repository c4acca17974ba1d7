/** What was called, without any secret: the bodies are not kept, and what a query may hide is masked. */

export type RequestEntry = {
  at: number
  method: string
  path: string
  query: Record<string, string>
  grantType?: string
  /** Missing while no answer was sent, and for ever when the connection was cut. */
  status?: number
  /** Which fault struck. */
  fault?: string
  /** What it brought forth, whether or not the answer arrived: a token pair, by the count of its grant. */
  issued?: { grantId: string; generation: number }
}

export type RequestPattern = {
  method?: string
  /** A string is the whole path, below the base path; a RegExp may match a part of it. */
  path?: RegExp | string
  grantType?: string
}

export type RequestLog = {
  all(): RequestEntry[]
  count(pattern?: RequestPattern): number
  clear(): void
}

const KEPT_ENTRIES = 100_000
const DROPPED_AT_ONCE = 10_000
const SECRET_PARAMETERS = /token|secret|code|verifier|password|state/i

export const matches = (
  pattern: RequestPattern,
  request: { method: string; path: string; grantType?: string | undefined },
): boolean =>
  (pattern.method === undefined || pattern.method.toUpperCase() === request.method) &&
  (pattern.grantType === undefined || pattern.grantType === request.grantType) &&
  (pattern.path === undefined ||
    (typeof pattern.path === 'string'
      ? pattern.path === request.path
      : request.path.search(pattern.path) >= 0))

export const maskQuery = (query: Record<string, unknown>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(query).map(([name, value]) => [
      name,
      SECRET_PARAMETERS.test(name) ? '[masked]' : String(value),
    ]),
  )

export const createRequestLog = (): RequestLog & { add(entry: RequestEntry): void } => {
  let entries: RequestEntry[] = []
  const kept = () => (entries.length > KEPT_ENTRIES ? entries.slice(-KEPT_ENTRIES) : entries.slice())
  return {
    add(entry) {
      entries.push(entry)
      // Dropped in blocks: shifting 100,000 entries for each request would cost more than the request.
      if (entries.length >= KEPT_ENTRIES + DROPPED_AT_ONCE) entries.splice(0, DROPPED_AT_ONCE)
    },
    all: kept,
    count: (pattern = {}) => kept().filter((entry) => matches(pattern, entry)).length,
    clear() {
      entries = []
    },
  }
}
