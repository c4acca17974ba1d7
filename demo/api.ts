import { expect } from './expect.ts'
import type { Narrator } from './narrator.ts'

// biome-ignore lint/suspicious/noExplicitAny: the tour reads members of many shapes
type Body = any

export type Caller = {
  /** The access key, for a program that calls by itself. */
  key: string
  /** Says what it asks. @throws {TourError} when the answer has another status than the tour tells of. */
  call(expected: number, method: string, path: string, body?: object): Promise<Body>
  /** The same many times at once, said once. */
  callTimes(times: number, expected: number, method: string, path: string): Promise<Body[]>
}

/** Calls the broker with one access key. */
export const createCaller = (narrator: Narrator, baseUrl: string, who: string, key: string): Caller => {
  const ask = async (expected: number, method: string, path: string, body?: object): Promise<Body> => {
    const response = await fetch(baseUrl + path, {
      method,
      headers: {
        authorization: `Bearer ${key}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
    })
    const text = await response.text()
    const answer: Body = text === '' ? undefined : JSON.parse(text)
    expect(
      response.status === expected,
      `${method} ${path} answered ${response.status}, not ${expected}: ${answer?.code ?? ''} ${answer?.detail ?? ''}`,
    )
    return answer
  }

  return {
    key,
    call(expected, method, path, body) {
      const shown = body && JSON.stringify(body, (name, value) => (/token|secret/.test(name) ? '…' : value))
      narrator.call(who, [method, path, shown].filter(Boolean).join(' '))
      return ask(expected, method, path, body)
    },
    callTimes(times, expected, method, path) {
      narrator.call(`${times} times ${who}`, `${method} ${path}`)
      return Promise.all(Array.from({ length: times }, () => ask(expected, method, path)))
    },
  }
}
