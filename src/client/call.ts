import { setTimeout as sleep } from 'node:timers/promises'
import { BrokerProblem, toBrokerProblem, toUnreachable } from './broker-problem.ts'

export type ClientSettings = {
  /** Where the broker is: https://broker.example.com */
  baseUrl: string
  /** The access key, or the JWT of a workload; a function is asked for each call, for JWTs that are renewed. */
  key: string | (() => string | Promise<string>)
  /** For a key of more than one organization. */
  organization?: string
  /** For how long one call is tried again, in seconds; 60 by default. 0 = never. */
  patienceSeconds?: number
  /** For how long a lease that nobody uses any more is kept for the next use, in seconds; 0 by default. */
  keepSeconds?: number
  fetch?: typeof fetch
}

/** What the functions of generated.ts take as their last argument. */
export type RequestOptions = { baseUrl: string; headers: Record<string, string>; fetch?: typeof fetch }

type Answer = { status: number; data?: unknown; headers: Headers }
export type Call = <Value>(
  work: (options: RequestOptions) => Promise<Answer>,
  headers?: Record<string, string>,
) => Promise<Value>

export const DEFAULT_PATIENCE_SECONDS = 60
const FIRST_PAUSE_SECONDS = 1
const LONGEST_PAUSE_SECONDS = 10

/** What a header can carry. Errors of fetch would show the whole value. */
const KEY = /^[\x21-\x7e]+$/

const readKey = async (key: ClientSettings['key']): Promise<string> => {
  const text = String((typeof key === 'function' ? await key() : key) ?? '').trim()
  if (KEY.test(text)) return text
  throw new BrokerProblem({
    code: 'unusable_key',
    status: 401,
    detail:
      text === ''
        ? 'There is no access key'
        : 'The access key has characters that no key has, such as a line end or a quotation mark',
  })
}

/** @throws {TypeError} without the value, which may hold a password */
const readBaseUrl = (baseUrl: string): string => {
  const url = URL.canParse(baseUrl) ? new URL(baseUrl) : undefined
  if (!url || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '')
    throw new TypeError('baseUrl has to be the http(s) URL of the broker, without user and password')
  return baseUrl.replace(/\/+$/, '')
}

/** Calls the broker, and again while the table says `retry` and there is patience. */
export const createCall = (settings: ClientSettings): Call => {
  const { key, patienceSeconds = DEFAULT_PATIENCE_SECONDS } = settings
  const baseUrl = readBaseUrl(settings.baseUrl)

  const callOnce = async (work: Parameters<Call>[0], headers: Record<string, string>): Promise<unknown> => {
    const options = {
      baseUrl,
      headers: { authorization: `Bearer ${await readKey(key)}`, ...headers },
      ...(settings.fetch ? { fetch: settings.fetch } : {}),
    }
    const answer = await work(options).catch((error: unknown) => {
      throw toUnreachable(error)
    })
    if (answer.status >= 200 && answer.status < 300) return answer.data
    throw toBrokerProblem(answer.status, answer.data, answer.headers)
  }

  return async <Value>(work: Parameters<Call>[0], headers: Record<string, string> = {}): Promise<Value> => {
    const end = performance.now() + patienceSeconds * 1000
    for (let pause = FIRST_PAUSE_SECONDS; ; pause = Math.min(LONGEST_PAUSE_SECONDS, pause * 2)) {
      try {
        return (await callOnce(work, headers)) as Value
      } catch (error) {
        if (!(error instanceof BrokerProblem) || error.action !== 'retry') throw error
        const seconds = error.retryAfterSeconds ?? pause
        if (performance.now() + seconds * 1000 > end) throw error
        await sleep(seconds * 1000)
      }
    }
  }
}
