import { hasControl, hasDash, hasQuote, isPrintable, withoutInvisible } from './characters.ts'
import type { PastedFault } from './faults.ts'
import {
  findWhole,
  isAccessKey,
  isBase64Pair,
  isCompleteForm,
  isMasked,
  isPem,
  isPlaceholder,
  isSessionCookie,
  isSshKey,
  isWhole,
} from './shapes.ts'
import { hostsIn, secretOfUrl, secretsOfJson, withoutLayer } from './wrapping.ts'

/** Pure: reads a secret as people paste it. */

export type PastedSecret = 'token' | 'client_id' | 'client_secret'

export type PastedReading =
  /** @property hosts the servers that stand beside the secret in the text. */
  { value: string; hosts: string[] } | { fault: PastedFault }

const LEAST_TOKEN_LENGTH = 8
/** More layers than anybody has: a header in quotes in a list in a fence. */
const MOST_LAYERS = 12
/** Names that people write before a token where the name does not matter. */
const USERS = /^(?:oauth2|git|gitlab-ci-token|private-token|token|x-access-token|x-token-auth)$/i

/**
 * Takes off what is certainly no part of a secret: blanks, invisible characters, quotes around it, labels, headers,
 * commands of a shell, JSON, the URL around it. Names what leaves it open. Never guesses: a text of one word of
 * printable ASCII is a secret, whatever it begins with, because GitLab alone knows.
 */
export const readPasted = (text: string, what: PastedSecret = 'token'): PastedReading => {
  const hosts = hostsIn(text)
  let rest = withoutInvisible(text)
  for (let layer = 0; layer < MOST_LAYERS; layer += 1) {
    if (rest === '') return { fault: 'empty' }
    const early = faultOfWhole(rest)
    if (early) return { fault: early }
    const inside = inner(rest)
    if (inside === undefined) return finish(rest, what, hosts)
    if (typeof inside !== 'string') return inside
    rest = withoutInvisible(inside)
  }
  return { fault: 'has_spaces' }
}

/** What a text is as a whole, before anything is taken off. */
const faultOfWhole = (text: string): PastedFault | undefined => {
  if (isPem(text)) return 'pem'
  if (isSshKey(text)) return 'ssh_key'
  if (isSessionCookie(text)) return 'session_cookie'
  if (/^basic\s+\S/i.test(text)) return 'basic'
  // Chats and documents put links and code between these, too.
  const linked = /^<[^<>]+>$/.test(text) && (text.includes('://') || findWhole(text).length > 0)
  return !linked && isPlaceholder(text) ? 'placeholder' : undefined
}

/** One layer less; a fault; undefined when there is no layer. */
const inner = (text: string): string | { fault: PastedFault } | undefined => {
  const secrets = secretsOfJson(text)
  if (secrets) {
    if (secrets.length > 1) return { fault: 'several' }
    return secrets[0] ?? { fault: 'has_spaces' }
  }
  const url = secretOfUrl(text)
  if (url) return url.secret ?? { fault: 'url' }
  return withoutLayer(text)
}

const finish = (text: string, what: PastedSecret, hosts: string[]): PastedReading => {
  const found = /\s/.test(text) ? oneAmongWords(text) : oneWord(text)
  if ('fault' in found) return found
  const fault = faultFor(found.value, what)
  return fault ? { fault } : { value: found.value, hosts }
}

type Found = { value: string } | { fault: PastedFault }

const oneWord = (text: string): Found => {
  if (isMasked(text)) return { fault: 'masked' }
  if (hasQuote(text)) return { fault: 'quotes' }
  if (hasDash(text)) return { fault: 'dash' }
  if (hasControl(text)) return { fault: 'control' }
  if (!isPrintable(text)) return { fault: 'not_ascii' }
  if (isBase64Pair(text)) return { fault: 'base64' }
  const half = text.slice(0, text.length / 2)
  if (/^gl[a-z]+-/.test(half) && half + half === text) return { fault: 'several' }
  const [found, ...others] = findWhole(text)
  if (others.length > 0) return { fault: 'several' }
  // Around it stands what no token has: the mark of a shell, an entity of HTML, a cell of a table.
  if (found !== undefined && NO_LETTER.test(text)) return { value: found }
  const colon = text.indexOf(':')
  const behind = text.slice(colon + 1)
  if (colon > 0 && isWhole(behind))
    return USERS.test(text.slice(0, colon)) ? { value: behind } : { fault: 'user_and_token' }
  return { value: text }
}

/** What GitLab allows neither in a token nor in its prefix (app/models/application_setting.rb). */
const NO_LETTER = /[^\w+=/@:.-]/

/** A word that may be a part of a token which was broken over lines. */
const PIECE = /^[\w.+/~-]+=*$/

/** The one whole token in a sentence, a command, or a file of variables. */
const oneAmongWords = (text: string): Found => {
  const tokens = findWhole(text)
  const lines = text.split(/\s*[\r\n\u2028\u2029]\s*/)
  if (tokens.length > 1) return { fault: 'several' }
  const [token] = tokens
  if (lines.length > 1 && lines.every((line) => PIECE.test(line)))
    return token !== undefined && lines.every((line) => line === token)
      ? { value: token }
      : { fault: 'broken_lines' }
  if (token !== undefined) {
    if (touchesPiece(lines, token)) return { fault: 'broken_lines' }
    const next = text.slice(text.indexOf(token) + token.length)
    const mayGoOn = !isCompleteForm(token) && /^\s+(?=\S*\d)[\w.-]+(?=\s|$)/.test(next)
    return mayGoOn ? { fault: 'has_spaces' } : { value: token }
  }
  if (isMasked(text)) return { fault: 'masked' }
  if (hasControl(text)) return { fault: 'control' }
  return {
    fault: hasDash(text) && !isPrintable(text) && /\bgl[a-z]{2,8}\p{Pd}/u.test(text) ? 'dash' : 'has_spaces',
  }
}

/** Whether a token ends its line, and the next line is one word: the token may go on there. */
const touchesPiece = (lines: string[], token: string): boolean =>
  lines.some((line, index) => {
    const next = lines[index + 1]
    return line.endsWith(token) && next !== undefined && /^[\w-]+$/.test(next) && next !== token
  })

const faultFor = (value: string, what: PastedSecret): PastedFault | undefined => {
  if (isPlaceholder(value)) return 'placeholder'
  if (isMasked(value)) return 'masked'
  if (isAccessKey(value)) return 'access_key'
  if (what === 'token') return value.length < LEAST_TOKEN_LENGTH ? 'too_short' : undefined
  // Ids have no prefix at GitLab, and nobody chooses the prefix of a secret.
  if (what === 'client_id') return value.startsWith('gloas-') ? 'client_secret' : undefined
  return /^gl(?:pat|dt|cbt|rt|ptt|ft)-/.test(value) && isWhole(value) ? 'not_a_client_secret' : undefined
}

/** A secret that was stored before secrets were read like this; undefined when nothing can send it. */
export const readStoredSecret = (text: string): string | undefined => {
  const value = withoutInvisible(text)
  return value !== '' && isPrintable(value) ? value : undefined
}
