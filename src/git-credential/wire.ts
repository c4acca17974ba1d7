import type { Problem } from '../errors/problem.ts'
import { invalidField } from '../errors/problem.ts'
import type { LeasedToken } from '../leases/lease-token.ts'

/**
 * The lines that Git and a credential helper exchange (git-credential, INPUT/OUTPUT FORMAT; gitcredentials, CUSTOM
 * HELPERS). Pure: no I/O, the time is passed in.
 */

/** What Git says of the repository and of a credential that it has. */
export type GitRequest = {
  protocol: string
  host: string
  /** undefined: credential.useHttpPath is not set. */
  path: string | undefined
  /** Of a credential that is stored or erased. */
  password: string | undefined
  /** The lease that an earlier answer named; from Git 2.46 on. */
  leaseId: string | undefined
  /** What this Git understands beside the plain attributes. */
  capabilities: ReadonlySet<string>
  /** The challenges of the server; from Git 2.41 on. */
  challenges: string[]
}

const USERNAME = 'oauth2'
/** So that a helper knows its own state among that of others. */
const STATE_PREFIX = 'gitlab-token-broker:'
/** More lines than any Git sends. */
const MOST_LINES = 1000
const HOST = /^[\w.-]+(:\d{1,5})?$|^\[[\da-f:.]+\](:\d{1,5})?$/i
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

type Attributes = { single: Map<string, string>; multiple: Map<string, string[]> }

/**
 * A key that ends in [] may come more than once; without a value it forgets those before it. Other keys: the last counts.
 * All lines may end in CRLF: helpers on Windows write it. A single CR belongs to a value.
 */
const readAttributes = (text: string): Attributes => {
  const single = new Map<string, string>()
  const multiple = new Map<string, string[]>()
  const lines = text.split(/(?<!\r)\n/.test(text) ? '\n' : '\r\n', MOST_LINES)
  const end = lines.indexOf('')
  for (const line of end === -1 ? lines : lines.slice(0, end)) {
    const at = line.indexOf('=')
    if (at < 1) throw invalidField('body', 'is not what Git sends: one key=value a line')
    const [key, value] = [line.slice(0, at), line.slice(at + 1)]
    if (!key.endsWith('[]')) single.set(key, value)
    else multiple.set(key, value === '' ? [] : [...(multiple.get(key) ?? []), value])
  }
  return { single, multiple }
}

/** The password in a pre-encoded credential, as Git with `authtype` sends it back. */
const passwordIn = (single: Map<string, string>): string | undefined => {
  if (single.get('authtype')?.toLowerCase() !== 'basic') return undefined
  const pair = Buffer.from(single.get('credential') ?? '', 'base64').toString('utf8')
  return pair.includes(':') ? pair.slice(pair.indexOf(':') + 1) : undefined
}

/** @throws {Problem} invalid_request */
export const readGitRequest = (text: string): GitRequest => {
  const { single, multiple } = readAttributes(text)
  const protocol = single.get('protocol')
  const host = single.get('host')
  if (protocol === undefined || host === undefined)
    throw invalidField(protocol === undefined ? 'protocol' : 'host', 'is required')
  if (protocol !== 'https' && protocol !== 'http')
    throw invalidField('protocol', 'must be https or http: tokens are for Git over HTTP')
  if (!HOST.test(host)) throw invalidField('host', 'is not a host name with an optional port')
  const state = multiple.get('state[]')?.find((value) => value.startsWith(STATE_PREFIX))
  const leaseId = state?.slice(STATE_PREFIX.length)
  return {
    protocol,
    host: host.toLowerCase(),
    path: single.get('path') || undefined,
    password: single.get('password') ?? passwordIn(single),
    leaseId: leaseId !== undefined && UUID.test(leaseId) ? leaseId : undefined,
    capabilities: new Set(multiple.get('capability[]')),
    challenges: multiple.get('wwwauth[]') ?? [],
  }
}

const toLines = (attributes: [key: string, value: string | number][]): string =>
  attributes.map(([key, value]) => `${key}=${value}\n`).join('')

/**
 * The credential. What takes a capability is said only to a Git that announced the capability, and after ours.
 * A Git that does not know password_expiry_utc ignores it.
 */
export const writeCredential = ({ row, token }: LeasedToken, { capabilities }: GitRequest): string => {
  const knows = (capability: string) => capabilities.has(capability)
  const end = row.token_expires_at
  return toLines([
    ...(knows('authtype') ? [['capability[]', 'authtype'] as [string, string]] : []),
    ...(knows('state') ? [['capability[]', 'state'] as [string, string]] : []),
    ['username', USERNAME],
    ['password', token],
    ...(end === null ? [] : [['password_expiry_utc', Math.floor(end.getTime() / 1000)] as [string, number]]),
    ...(knows('authtype') ? [['ephemeral', 1] as [string, number]] : []),
    ...(knows('state') ? [['state[]', `${STATE_PREFIX}${row.lease_id}`] as [string, string]] : []),
  ])
}

/** Tells why, for the helper to print; Git ignores keys that it does not know. */
export const writeReason = ({ code, message, extras }: Problem): string => {
  const { retryAfterSeconds } = extras
  return toLines([
    ['code', code],
    ['reason', `gitlab-token-broker: ${message.replace(/\s+/g, ' ')} (${code})`],
    ...(retryAfterSeconds === undefined
      ? []
      : [['retry_after', Math.max(1, Math.ceil(retryAfterSeconds))] as [string, number]]),
  ])
}

/** Git asks no other helper and no person, and ends. */
export const writeRefusal = (problem: Problem): string => toLines([['quit', 'true']]) + writeReason(problem)
