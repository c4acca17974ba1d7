export type Answer = {
  status: number
  text: string
  // biome-ignore lint/suspicious/noExplicitAny: members of many shapes are read
  body: any
  retryAfterSeconds: number
}

/** Longer than the longest wait that a broker allows itself. */
export const PATIENCE_MS = 45_000

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** @returns undefined when no answer came: the process died, or was not there. @throws when it took too long. */
export const ask = async (
  baseUrl: string,
  method: string,
  path: string,
  { key, body, headers }: { key?: string; body?: object; headers?: Record<string, string> } = {},
): Promise<Answer | undefined> => {
  try {
    const response = await fetch(baseUrl + path, {
      method,
      signal: AbortSignal.timeout(PATIENCE_MS),
      headers: {
        ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    const retryAfterSeconds = Number(response.headers.get('retry-after') ?? 0) || 0
    return { status: response.status, text, body: parse(text), retryAfterSeconds }
  } catch (error) {
    if (error instanceof Error && error.name === 'TimeoutError') throw error
    return undefined
  }
}
