export type Answer = {
  status: number
  headers: Headers
  text: string
  /** Parsed JSON; undefined when the body is none. */
  // biome-ignore lint/suspicious/noExplicitAny: tests read members of many shapes
  body: any
}

export type RequestOptions = {
  key?: string | null
  body?: unknown
  headers?: Record<string, string>
  rawBody?: string
}
