import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { runKeyCommand } from './key-command.ts'
import { decodeMasterKey } from './master-key.ts'

export type Config = {
  port: number
  host: string
  /** Origin (and path) under which browsers reach us, without a trailing slash. */
  publicUrl: string
  /** undefined = embedded PGlite in `dataDir`. */
  databaseUrl: string | undefined
  databasePoolSize: number
  dataDir: string
  /** 32-byte keys, the current one first; empty = the embedded default makes one in `dataDir`. */
  masterKeys: Uint8Array[]
  bootstrapAdminKey: string | undefined
  gitlabApp: { clientId: string; clientSecret: string; baseUrl: string; scopes: string[] } | undefined
  /** Origins to which the OAuth flow may send a browser back. */
  returnOrigins: string[]
  /** Whether X-Forwarded-* headers are believed, and whose: Fastify's trustProxy. */
  trustProxy: boolean | string
  logLevel: string
  /** How long the record of who got which token is kept. */
  leaseRetentionDays: number
  /** How long the record of who did what is kept. */
  auditRetentionDays: number
  /** After which a new data key is made. */
  dataKeyMaxAgeDays: number
}

/** All faults of the environment at once, one a line; no value is ever in it. */
export class ConfigError extends Error {
  readonly faults: string[]
  constructor(faults: string[]) {
    super(
      `The configuration has ${faults.length === 1 ? 'a fault' : `${faults.length} faults`}:\n  ${faults.join('\n  ')}`,
    )
    this.name = 'ConfigError'
    this.faults = faults
  }
}

type Environment = Record<string, string | undefined>

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']
const DEFAULT_SCOPES = 'read_user read_api read_repository'
const MINIMUM_KEY_LENGTH = 32
/** The longest that is read from a header (access-keys/authenticate.ts). */
const MAXIMUM_KEY_LENGTH = 512
/** What Fastify takes by name, besides addresses with or without a prefix length. */
const PROXY_NAMES = ['loopback', 'linklocal', 'uniquelocal']
const SCOPE = /^[a-z0-9_]+$/

const isProxy = (text: string): boolean => {
  const [address = '', prefix, ...more] = text.split('/')
  if (PROXY_NAMES.includes(text)) return true
  const longest = { 4: 32, 6: 128 }[isIP(address)]
  if (longest === undefined || more.length > 0) return false
  return prefix === undefined || (/^\d+$/.test(prefix) && Number(prefix) <= longest)
}

/**
 * Reads the configuration from environment variables, each as `NAME` or as `NAME_FILE` (a file that holds it).
 * @throws {ConfigError} naming every fault.
 */
export const readConfig = (env: Environment): Config => {
  const faults: string[] = []

  const read = (name: string): string | undefined => {
    const value = env[name] || undefined
    const file = env[`${name}_FILE`] || undefined
    if (value !== undefined && file !== undefined)
      faults.push(`${name} and ${name}_FILE are both set: set one`)
    if (value !== undefined || file === undefined) return value
    try {
      return readFileSync(file, 'utf8').trim() || undefined
    } catch (error) {
      faults.push(`${name}_FILE cannot be read (${(error as NodeJS.ErrnoException).code ?? 'error'})`)
      return undefined
    }
  }

  const readInteger = (name: string, fallback: number, least: number, most: number): number => {
    const text = read(name)
    if (text === undefined) return fallback
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
    if (value >= least && value <= most) return value
    faults.push(`${name} must be a whole number from ${least} to ${most}`)
    return fallback
  }

  const readUrl = (name: string, protocols: string[]): URL | undefined => {
    const text = read(name)
    if (text === undefined) return undefined
    const url = URL.canParse(text) ? new URL(text) : undefined
    if (url && protocols.includes(url.protocol)) return url
    faults.push(
      `${name} must be a URL that starts with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}`,
    )
    return undefined
  }

  const readWebUrl = (name: string): string | undefined => {
    const url = readUrl(name, ['http:', 'https:'])
    if (url && (url.username || url.password || url.search || url.hash))
      faults.push(`${name} must be a plain URL, without credentials, query or fragment`)
    return url?.href.replace(/\/+$/, '')
  }

  const databaseUrl = readUrl('DATABASE_URL', ['postgres:', 'postgresql:'])?.href
  const port = readInteger('PORT', 8080, 0, 65535)
  const host = read('HOST') ?? (databaseUrl ? '0.0.0.0' : '127.0.0.1')
  const publicUrl = readWebUrl('PUBLIC_URL') ?? `http://127.0.0.1:${port}`

  const masterKeys: Uint8Array[] = []
  const givenMasterKey = read('MASTER_KEY')
  const masterKeyCommand = read('MASTER_KEY_COMMAND')
  const readMasterKey = (): string | undefined => {
    if (masterKeyCommand === undefined) return givenMasterKey
    if (givenMasterKey !== undefined) {
      faults.push('MASTER_KEY and MASTER_KEY_COMMAND are both set: set one')
      return givenMasterKey
    }
    const { output, fault } = runKeyCommand(masterKeyCommand, env)
    if (fault !== undefined) faults.push(`MASTER_KEY_COMMAND ${fault}`)
    return output
  }
  const masterKeyText = readMasterKey()
  for (const [index, part] of (masterKeyText?.split(',') ?? []).entries()) {
    const key = decodeMasterKey(part.trim())
    if (key) masterKeys.push(key)
    else
      faults.push(
        `${masterKeyCommand === undefined ? 'MASTER_KEY' : 'MASTER_KEY_COMMAND'}: key ${index + 1} is not 32 bytes in base64 or base64url (openssl rand -base64 32 makes one)`,
      )
  }
  const reported = faults.some((fault) => fault.startsWith('MASTER_KEY'))
  if (databaseUrl && masterKeyText === undefined && !reported) {
    faults.push(
      'MASTER_KEY is needed when DATABASE_URL is set: 32 bytes in base64 (openssl rand -base64 32 makes one)',
    )
  }

  const bootstrapAdminKey = read('BOOTSTRAP_ADMIN_KEY')
  if (
    bootstrapAdminKey !== undefined &&
    (bootstrapAdminKey.length < MINIMUM_KEY_LENGTH || bootstrapAdminKey.length > MAXIMUM_KEY_LENGTH)
  ) {
    faults.push(`BOOTSTRAP_ADMIN_KEY must have ${MINIMUM_KEY_LENGTH} to ${MAXIMUM_KEY_LENGTH} characters`)
  }
  if (bootstrapAdminKey !== undefined && /[^\x21-\x7e]/.test(bootstrapAdminKey)) {
    faults.push('BOOTSTRAP_ADMIN_KEY must be printable ASCII without spaces: it travels in an HTTP header')
  }

  const clientId = read('GITLAB_CLIENT_ID')
  const clientSecret = read('GITLAB_CLIENT_SECRET')
  if ((clientId === undefined) !== (clientSecret === undefined)) {
    faults.push('GITLAB_CLIENT_ID and GITLAB_CLIENT_SECRET go together: set both or neither')
  }
  const gitlabBaseUrl = readWebUrl('GITLAB_BASE_URL') ?? 'https://gitlab.com'
  const scopes = (read('GITLAB_SCOPES') ?? DEFAULT_SCOPES).split(/[\s,]+/).filter(Boolean)
  if (scopes.length === 0 || !scopes.every((scope) => SCOPE.test(scope)))
    faults.push('GITLAB_SCOPES must be names of scopes, such as read_api, separated by spaces or commas')

  const returnOrigins: string[] = []
  for (const text of (read('RETURN_ORIGINS') ?? '').split(/[\s,]+/).filter(Boolean)) {
    const url = URL.canParse(text) ? new URL(text) : undefined
    if (url && ['http:', 'https:'].includes(url.protocol)) returnOrigins.push(url.origin)
    else faults.push('RETURN_ORIGINS must be origins such as https://app.example.com, separated by commas')
  }

  const logLevel = read('LOG_LEVEL') ?? 'info'
  if (!LOG_LEVELS.includes(logLevel)) faults.push(`LOG_LEVEL must be one of ${LOG_LEVELS.join(', ')}`)

  const trustProxyText = read('TRUST_PROXY') ?? 'false'
  const trustProxy = trustProxyText === 'true' ? true : trustProxyText === 'false' ? false : trustProxyText
  if (typeof trustProxy === 'string' && !trustProxy.split(',').every((part) => isProxy(part.trim())))
    faults.push('TRUST_PROXY must be true, false, or addresses such as 10.0.0.0/8, separated by commas')

  const config: Config = {
    port,
    host,
    publicUrl,
    databaseUrl,
    databasePoolSize: readInteger('DATABASE_POOL_SIZE', 10, 1, 1000),
    dataDir: read('DATA_DIR') ?? './data',
    masterKeys,
    bootstrapAdminKey,
    gitlabApp:
      clientId && clientSecret ? { clientId, clientSecret, baseUrl: gitlabBaseUrl, scopes } : undefined,
    returnOrigins,
    trustProxy,
    logLevel,
    leaseRetentionDays: readInteger('LEASE_RETENTION_DAYS', 90, 1, 3650),
    auditRetentionDays: readInteger('AUDIT_RETENTION_DAYS', 400, 2, 36_500),
    dataKeyMaxAgeDays: readInteger('DATA_KEY_MAX_AGE_DAYS', 365, 1, 36_500),
  }
  if (faults.length > 0) throw new ConfigError(faults)
  return config
}
