import { isIP } from 'node:net'
import { PASTED_FAULTS } from '../pasted/faults.ts'
import { readPasted } from '../pasted/read-pasted.ts'
import { parseDatabaseUrl } from './database-url.ts'
import { createReader, type Environment } from './environment.ts'
import { isLoopback, parseHosts } from './hosts.ts'
import { DEFAULT_LIMITS, type LimitSettings } from './limits.ts'
import { type EnvironmentProxy, readProxy } from './proxy.ts'
import { readMasterKeys } from './read-master-keys.ts'

export type Config = {
  port: number
  host: string
  /** Origin (and path) under which browsers reach us, without a trailing slash. */
  publicUrl: string
  /** Under which host names it answers beside that of publicUrl and those of this machine; undefined = any. */
  allowedHosts: string[] | undefined
  /** undefined = embedded PGlite in `dataDir`. */
  databaseUrl: string | undefined
  databasePoolSize: number
  /** What stands between us and PostgreSQL: a pooler in transaction mode; undefined = nothing that matters. */
  databasePooler: 'transaction' | undefined
  dataDir: string
  /** 32-byte keys, the current one first; empty = the embedded default makes one in `dataDir`. */
  masterKeys: Uint8Array[]
  bootstrapAdminKey: string | undefined
  gitlabApp: { clientId: string; clientSecret: string; baseUrl: string; scopes: string[] } | undefined
  /** Whether a token may be sent to a GitLab server that is no registered instance. */
  unregisteredInstances: 'allow' | 'refuse'
  /** Whether what connections reach is read from GitLab, for the lists of projects. */
  syncProjects: 'on' | 'off'
  /** Origins to which the OAuth flow may send a browser back. */
  returnOrigins: string[]
  /** Whether X-Forwarded-* headers are believed, and whose: Fastify's trustProxy. */
  trustProxy: boolean | string
  logLevel: string
  /** How long the record of who got which token is kept. */
  leaseRetentionDays: number
  /** How long issued tokens stay on the disk, encrypted, after they were saved; 0 = not at all. */
  spoolRetentionHours: number
  /** How long requests go on being served after the end was announced, so that a balancer can look elsewhere. */
  shutdownDelaySeconds: number
  /** How GitLab is reached; undefined = without a proxy. */
  proxy: EnvironmentProxy | undefined
  limits: LimitSettings
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

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']
const DEFAULT_SCOPES = 'read_user read_api read_repository'
const MINIMUM_KEY_LENGTH = 32
/** The longest that is read from a header (callers/authenticator.ts). */
const MAXIMUM_KEY_LENGTH = 512
/** What Fastify takes by name, besides addresses with or without a prefix length. */
const PROXY_NAMES = ['loopback', 'linklocal', 'uniquelocal']
/** Of any limit. */
const MOST = 1_000_000_000
const SCOPE = /^[a-z0-9_]+$/

const isProxy = (text: string): boolean => {
  const [address = '', prefix, ...more] = text.split('/')
  if (PROXY_NAMES.includes(text)) return true
  const longest = { 4: 32, 6: 128 }[isIP(address)]
  if (longest === undefined || more.length > 0) return false
  return prefix === undefined || (/^\d+$/.test(prefix) && Number(prefix) <= longest)
}

const readDatabaseUrl = (text: string | undefined, faults: string[]): string | undefined => {
  if (text === undefined) return undefined
  const parsed = parseDatabaseUrl(text)
  if ('urls' in parsed) return text
  faults.push(`DATABASE_URL ${parsed.fault}`)
  return undefined
}

type Reader = ReturnType<typeof createReader>

const readBootstrapAdminKey = ({ read }: Reader, faults: string[]): string | undefined => {
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
  return bootstrapAdminKey
}

const readGitLabApp = ({ read, readWebUrl }: Reader, faults: string[]): Config['gitlabApp'] => {
  const readSecret = (name: string, what: 'client_id' | 'client_secret'): string | undefined => {
    const text = read(name)
    const reading = text === undefined ? undefined : readPasted(text, what)
    if (reading === undefined || 'value' in reading) return reading?.value
    faults.push(`${name} ${PASTED_FAULTS[reading.fault]}`)
    return text
  }
  const clientId = readSecret('GITLAB_CLIENT_ID', 'client_id')
  const clientSecret = readSecret('GITLAB_CLIENT_SECRET', 'client_secret')
  if ((clientId === undefined) !== (clientSecret === undefined)) {
    faults.push('GITLAB_CLIENT_ID and GITLAB_CLIENT_SECRET go together: set both or neither')
  }
  const baseUrl = readWebUrl('GITLAB_BASE_URL') ?? 'https://gitlab.com'
  const scopes = (read('GITLAB_SCOPES') ?? DEFAULT_SCOPES).split(/[\s,]+/).filter(Boolean)
  if (scopes.length === 0 || !scopes.every((scope) => SCOPE.test(scope)))
    faults.push('GITLAB_SCOPES must be names of scopes, such as read_api, separated by spaces or commas')
  return clientId && clientSecret ? { clientId, clientSecret, baseUrl, scopes } : undefined
}

const readReturnOrigins = ({ read }: Reader, faults: string[]): string[] => {
  const returnOrigins: string[] = []
  for (const text of (read('RETURN_ORIGINS') ?? '').split(/[\s,]+/).filter(Boolean)) {
    const url = URL.canParse(text) ? new URL(text) : undefined
    if (url && ['http:', 'https:'].includes(url.protocol)) returnOrigins.push(url.origin)
    else faults.push('RETURN_ORIGINS must be origins such as https://app.example.com, separated by commas')
  }
  return returnOrigins
}

const readTrustProxy = ({ read }: Reader, faults: string[]): boolean | string => {
  const trustProxyText = read('TRUST_PROXY') ?? 'false'
  const trustProxy = trustProxyText === 'true' ? true : trustProxyText === 'false' ? false : trustProxyText
  if (typeof trustProxy === 'string' && !trustProxy.split(',').every((part) => isProxy(part.trim())))
    faults.push('TRUST_PROXY must be true, false, or addresses such as 10.0.0.0/8, separated by commas')
  return trustProxy
}

const readLimits = ({ readInteger }: Reader): LimitSettings => {
  const readLimit = (name: string, fallback: number): number => readInteger(name, fallback, 0, MOST)
  return {
    requestsPerKey: readLimit('LIMIT_REQUESTS', DEFAULT_LIMITS.requestsPerKey),
    connectSessionsPerKey: readLimit('LIMIT_CONNECT_SESSIONS', DEFAULT_LIMITS.connectSessionsPerKey),
    flowStartsPerLink: readLimit('LIMIT_FLOW_STARTS', DEFAULT_LIMITS.flowStartsPerLink),
    tokenChecks: readLimit('LIMIT_TOKEN_CHECKS', DEFAULT_LIMITS.tokenChecks),
    wrongKeys: readLimit('LIMIT_WRONG_KEYS', DEFAULT_LIMITS.wrongKeys),
    failedSignIns: readLimit('LIMIT_FAILED_SIGN_INS', DEFAULT_LIMITS.failedSignIns),
    socketsPerAddress: readLimit('LIMIT_SOCKETS_PER_ADDRESS', DEFAULT_LIMITS.socketsPerAddress),
    sockets: readLimit('LIMIT_SOCKETS', DEFAULT_LIMITS.sockets),
    lateMs: readLimit('LIMIT_LATE_MS', DEFAULT_LIMITS.lateMs),
  }
}

export type ConfigOptions = {
  /** false for what needs no master key, such as a migration. */
  opensTokens?: boolean
}

/**
 * Reads the configuration from environment variables, each as `NAME` or as `NAME_FILE` (a file that holds it).
 * @throws {ConfigError} naming every fault.
 */
export const readConfig = (env: Environment, { opensTokens = true }: ConfigOptions = {}): Config => {
  const faults: string[] = []

  const reader = createReader(env, faults)
  const { read, readInteger, readWebUrl } = reader

  const databaseUrl = readDatabaseUrl(read('DATABASE_URL'), faults)
  const pooler = read('DATABASE_POOLER') ?? 'none'
  if (pooler !== 'none' && pooler !== 'transaction')
    faults.push(
      'DATABASE_POOLER must be transaction, or none: PostgreSQL itself, or a pooler in session mode',
    )
  const port = readInteger('PORT', 8080, 0, 65535)
  const host = read('HOST') ?? (databaseUrl ? '0.0.0.0' : '127.0.0.1')
  const writtenPublicUrl = readWebUrl('PUBLIC_URL')
  const publicUrl = writtenPublicUrl ?? `http://127.0.0.1:${port}`
  const allowedHosts = parseHosts(read('ALLOWED_HOSTS'), faults)
  // Without PUBLIC_URL its name is unknown; where only this machine reaches it, no other name is needed.
  const namesAreKnown = writtenPublicUrl !== undefined || allowedHosts.length > 0 || isLoopback(host)

  const masterKeys = opensTokens
    ? readMasterKeys({ read, env, faults, isNeeded: databaseUrl !== undefined })
    : []

  const unregisteredInstances = read('UNREGISTERED_INSTANCES') ?? 'allow'
  if (unregisteredInstances !== 'allow' && unregisteredInstances !== 'refuse')
    faults.push('UNREGISTERED_INSTANCES must be allow or refuse')

  const syncProjects = read('SYNC_PROJECTS') ?? 'on'
  if (syncProjects !== 'on' && syncProjects !== 'off') faults.push('SYNC_PROJECTS must be on or off')

  const logLevel = read('LOG_LEVEL') ?? 'info'
  if (!LOG_LEVELS.includes(logLevel)) faults.push(`LOG_LEVEL must be one of ${LOG_LEVELS.join(', ')}`)

  const config: Config = {
    port,
    host,
    publicUrl,
    allowedHosts: namesAreKnown ? allowedHosts : undefined,
    databaseUrl,
    databasePoolSize: readInteger('DATABASE_POOL_SIZE', 10, 1, 1000),
    databasePooler: pooler === 'transaction' ? pooler : undefined,
    dataDir: read('DATA_DIR') ?? './data',
    masterKeys,
    bootstrapAdminKey: readBootstrapAdminKey(reader, faults),
    gitlabApp: readGitLabApp(reader, faults),
    unregisteredInstances: unregisteredInstances === 'refuse' ? 'refuse' : 'allow',
    syncProjects: syncProjects === 'off' ? 'off' : 'on',
    returnOrigins: readReturnOrigins(reader, faults),
    trustProxy: readTrustProxy(reader, faults),
    logLevel,
    leaseRetentionDays: readInteger('LEASE_RETENTION_DAYS', 90, 1, 3650),
    spoolRetentionHours: readInteger('SPOOL_RETENTION_HOURS', 24, 0, 720),
    shutdownDelaySeconds: readInteger('SHUTDOWN_DELAY_SECONDS', 0, 0, 300),
    proxy: readProxy(read, faults),
    limits: readLimits(reader),
    auditRetentionDays: readInteger('AUDIT_RETENTION_DAYS', 400, 2, 36_500),
    dataKeyMaxAgeDays: readInteger('DATA_KEY_MAX_AGE_DAYS', 365, 1, 36_500),
  }
  if (faults.length > 0) throw new ConfigError(faults)
  return config
}
