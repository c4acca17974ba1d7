import { insideOfPair } from './characters.ts'
import { isWhole } from './shapes.ts'

/** Pure: takes off one layer of what tools and people put around a secret. */

/** Names of a value that is a secret, without their separators and case. */
const LABEL =
  /token|secret|password|passwd|authorization|bearer|credential|^pat$|accesspat|gitlabpat|apikey|clientid|applicationid|appid|^id$/
/** Words before a name that set it. */
const SETTERS = /^(?:export|set|setx|declare|env|arg|const|let|var|local|readonly|-e|--env|\$env:)\s+/i
const NAME = /^(?:\$env:)?["'`]?([A-Za-z][\w .-]{0,60}?)["'`]?\s*(:=|=>|=|:)\s*/
/** Marks of a shell or a list, with the blank behind it. */
const PROMPT = /^(?:[$#>%•*–-]|\d{1,2}[.)])\s+/
const SCHEME = /^(?:bearer|token|private-token)\s+/i
const FENCE = '```'
const LANGUAGE = /^[\w-]*(?=\s)/
/** Of `--token x` and `--token=x`. */
const OPTION = /^--?(?:token|private-token|password|client-secret|client-id|t|p)(?:\s+|=)/i
/** Behind a value in JSON, in code, or at the end of a line of a shell. */
const TRAILING = /(?:[,;]+|\s\\|(?:\\r)?\\n)$/

const isLabel = (name: string): boolean => LABEL.test(name.toLowerCase().replace(/[ _.-]/g, ''))

/** The value behind a name. Without a blank behind the sign, a name that tells nothing may be a part of the token. */
const behindLabel = (text: string): string | undefined => {
  const assigned = text.replace(SETTERS, '')
  const [head = '', name = ''] = NAME.exec(assigned) ?? []
  if (head === '') return undefined
  const value = assigned.slice(head.length)
  // `oauth2:glpat-…` is a user name and a token (readPasted).
  return value !== '' && isLabel(name) ? value : undefined
}

/** What is said about a token, and is none: token_type, expires_at. */
const ABOUT_A_TOKEN = /(?:type|name|url|_at|_in|_id)$/i

/** The secrets of a JSON object; undefined when the text is none. */
export const secretsOfJson = (text: string): string[] | undefined => {
  if (!text.startsWith('{') || !text.endsWith('}')) return undefined
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  return Object.entries(value).flatMap(([name, member]) =>
    isLabel(name) && !ABOUT_A_TOKEN.test(name) && typeof member === 'string' ? [member] : [],
  )
}

const decode = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

const TOKEN_PARAMETERS = ['private_token', 'access_token', 'job_token', 'token']

/** The secret in a URL: its password, a parameter, or a user name that is a whole token. */
export const secretOfUrl = (text: string): { secret: string | undefined } | undefined => {
  if (/^git@[\w.-]+:[\w./-]+$/.test(text)) return { secret: undefined }
  if (!/^[a-z][a-z0-9+.-]*:\/\/\S+$/i.test(text)) return undefined
  const url = URL.parse(text)
  if (!url) return undefined
  const user = decode(url.username)
  const parameters = TOKEN_PARAMETERS.map((name) => url.searchParams.get(name))
  const found = decode(url.password) || parameters.find(Boolean) || (isWhole(user) ? user : undefined)
  return { secret: found || undefined }
}

/** The names of the servers that a text has URLs of. */
export const hostsIn = (text: string): string[] => {
  const urls = text.match(/\bhttps?:\/\/[^\s"'`<>|\\^{}]+/gi) ?? []
  return [
    ...new Set(urls.map((url) => URL.parse(url)?.hostname.toLowerCase()).filter((host) => host)),
  ] as string[]
}

/** @returns the text without its outermost layer; undefined when there is none. */
export const withoutLayer = (text: string): string | undefined => {
  if (text.length > 6 && text.startsWith(FENCE) && text.endsWith(FENCE))
    return text.slice(FENCE.length, -FENCE.length).replace(LANGUAGE, '')
  for (const layer of [PROMPT, SCHEME, OPTION, TRAILING]) {
    const rest = text.replace(layer, '')
    if (rest !== text && rest !== '') return rest
  }
  // A full stop ends a sentence, and no token that GitLab makes.
  if (text.endsWith('.') && isWhole(text.slice(0, -1))) return text.slice(0, -1)
  return insideOfPair(text) ?? behindLabel(text)
}
