import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { ConfigError, readConfig } from '../../src/config/config.ts'
import { runKeyCommand } from '../../src/config/key-command.ts'
import { DEFAULT_LIMITS } from '../../src/config/limits.ts'
import { decodeMasterKey } from '../../src/config/master-key.ts'

const KEY = Buffer.alloc(32, 1).toString('base64')
const OTHER_KEY = Buffer.alloc(32, 255).toString('base64url')
const DATABASE_URL = 'postgres://FAKE-user:FAKE-password@db.example.com/broker?sslmode=require'

const faultsOf = (env: Record<string, string>): string[] => {
  try {
    readConfig(env)
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.faults
  }
}

t.test('nothing set is the embedded default, on loopback only', async (t) => {
  t.same(readConfig({}), {
    port: 8080,
    host: '127.0.0.1',
    publicUrl: 'http://127.0.0.1:8080',
    allowedHosts: [],
    databaseUrl: undefined,
    databasePoolSize: 10,
    databasePooler: undefined,
    dataDir: './data',
    masterKeys: [],
    bootstrapAdminKey: undefined,
    gitlabApp: undefined,
    unregisteredInstances: 'allow',
    syncProjects: 'on',
    returnOrigins: [],
    trustProxy: false,
    proxy: undefined,
    logLevel: 'info',
    leaseRetentionDays: 90,
    shutdownDelaySeconds: 0,
    spoolRetentionHours: 24,
    limits: DEFAULT_LIMITS,
    auditRetentionDays: 400,
    dataKeyMaxAgeDays: 365,
  })
})

t.test('everything that can be set is read', async (t) => {
  const config = readConfig({
    PORT: '9000',
    PUBLIC_URL: 'https://broker.example.com/base/',
    DATABASE_URL,
    DATABASE_POOL_SIZE: '20',
    MASTER_KEY: `${KEY}, ${OTHER_KEY}`,
    BOOTSTRAP_ADMIN_KEY: 'FAKE-0123456789-0123456789-0123456789',
    GITLAB_CLIENT_ID: 'FAKE-id',
    GITLAB_CLIENT_SECRET: 'gloas-FAKE',
    GITLAB_BASE_URL: 'https://gitlab.example.com/gitlab/',
    GITLAB_SCOPES: 'read_api, read_repository',
    RETURN_ORIGINS: 'https://a.example.com/path, https://b.example.com:8443',
    UNREGISTERED_INSTANCES: 'refuse',
    SYNC_PROJECTS: 'off',
    TRUST_PROXY: '10.0.0.0/8, loopback, fd00::1',
    LOG_LEVEL: 'debug',
    LEASE_RETENTION_DAYS: '7',
    DATABASE_POOLER: 'transaction',
    SHUTDOWN_DELAY_SECONDS: '5',
    LIMIT_REQUESTS: '1',
    LIMIT_CONNECT_SESSIONS: '2',
    LIMIT_FLOW_STARTS: '3',
    LIMIT_TOKEN_CHECKS: '4',
    LIMIT_WRONG_KEYS: '5',
    LIMIT_FAILED_SIGN_INS: '6',
    LIMIT_SOCKETS_PER_ADDRESS: '7',
    LIMIT_SOCKETS: '8',
    LIMIT_LATE_MS: '0',
    UNRELATED: 'ignored',
  })
  t.match(config, {
    port: 9000,
    host: '0.0.0.0',
    publicUrl: 'https://broker.example.com/base',
    databaseUrl: DATABASE_URL,
    databasePoolSize: 20,
    masterKeys: [new Uint8Array(32).fill(1), new Uint8Array(32).fill(255)],
    gitlabApp: {
      clientId: 'FAKE-id',
      baseUrl: 'https://gitlab.example.com/gitlab',
      scopes: ['read_api', 'read_repository'],
    },
    returnOrigins: ['https://a.example.com', 'https://b.example.com:8443'],
    trustProxy: '10.0.0.0/8, loopback, fd00::1',
    logLevel: 'debug',
    leaseRetentionDays: 7,
    syncProjects: 'off',
    databasePooler: 'transaction',
    shutdownDelaySeconds: 5,
    limits: {
      requestsPerKey: 1,
      connectSessionsPerKey: 2,
      flowStartsPerLink: 3,
      tokenChecks: 4,
      wrongKeys: 5,
      failedSignIns: 6,
      socketsPerAddress: 7,
      sockets: 8,
      lateMs: 0,
    },
  })
})

t.test('every value may lie in a file', async (t) => {
  const dir = t.testdir({ key: `${KEY}\n`, port: '9001\n', empty: '\n' })
  const config = readConfig({ MASTER_KEY_FILE: join(dir, 'key'), PORT_FILE: join(dir, 'port') })
  t.equal(config.port, 9001)
  t.equal(config.masterKeys.length, 1)
  t.equal(readConfig({ PORT_FILE: join(dir, 'empty') }).port, 8080, 'an empty file is nothing set')
  t.same(faultsOf({ PORT: '9000', PORT_FILE: join(dir, 'port') }), [
    'PORT and PORT_FILE are both set: set one',
  ])
  t.same(faultsOf({ MASTER_KEY_FILE: join(dir, 'gone'), DATABASE_URL }), [
    'MASTER_KEY_FILE cannot be read (ENOENT)',
  ])
  await writeFile(join(dir, 'key'), 'short')
  t.match(faultsOf({ MASTER_KEY_FILE: join(dir, 'key') }), [/^MASTER_KEY: key 1 is not 32 bytes/])
})

t.test('every fault is told at once, and no value with it', async (t) => {
  const env = {
    PORT: 'FAKE-port',
    DATABASE_URL: 'mysql://FAKE-user:FAKE-password@db/x',
    DATABASE_POOL_SIZE: '0',
    PUBLIC_URL: 'FAKE-url',
    MASTER_KEY: `${KEY},FAKE-key`,
    BOOTSTRAP_ADMIN_KEY: 'FAKE short',
    GITLAB_CLIENT_ID: 'FAKE-id',
    GITLAB_BASE_URL: 'https://FAKE-user:FAKE-password@gitlab.example.com',
    GITLAB_SCOPES: 'FAKE scope!',
    RETURN_ORIGINS: 'FAKE-origin',
    TRUST_PROXY: 'FAKE-proxy',
    LOG_LEVEL: 'FAKE-level',
    LEASE_RETENTION_DAYS: '0',
    LIMIT_REQUESTS: '-1',
  }
  t.match(faultsOf(env), [
    /^DATABASE_URL must be a URL/,
    /^PORT must be a whole number/,
    /^PUBLIC_URL must be a URL/,
    /^MASTER_KEY: key 2 is not 32 bytes/,
    /^LOG_LEVEL must be one of/,
    /^DATABASE_POOL_SIZE must be/,
    /^BOOTSTRAP_ADMIN_KEY must have 32 to 512 characters/,
    /^BOOTSTRAP_ADMIN_KEY must be printable ASCII/,
    /^GITLAB_CLIENT_ID and GITLAB_CLIENT_SECRET go together/,
    /^GITLAB_BASE_URL must be a plain URL/,
    /^GITLAB_SCOPES must be names of scopes/,
    /^RETURN_ORIGINS must be origins/,
    /^TRUST_PROXY must be/,
    /^LEASE_RETENTION_DAYS must be/,
    /^LIMIT_REQUESTS must be a whole number from 0/,
  ])
  t.equal(faultsOf(env).length, 15)
  t.throws(() => readConfig(env), /has 15 faults:\n {2}DATABASE_URL/)
  t.notMatch(faultsOf(env).join(), /FAKE/)
})

t.test('a DATABASE_URL without a master key is a fault', async (t) => {
  t.match(faultsOf({ DATABASE_URL }), [/^MASTER_KEY is needed when DATABASE_URL is set/])
  t.same(faultsOf({ DATABASE_URL, MASTER_KEY: KEY }), [])
})

t.test('faults that were found: what looked fine at the start and failed later', async (t) => {
  t.match(faultsOf({ PORT: ' ' }), [/^PORT must be/], 'blank is not port 0')
  t.match(faultsOf({ PORT: '0x50' }), [/^PORT must be/])
  t.match(faultsOf({ PUBLIC_URL: 'https://broker.example.com/?x=1' }), [/^PUBLIC_URL must be a plain URL/])
  t.match(faultsOf({ BOOTSTRAP_ADMIN_KEY: 'x'.repeat(513) }), [/^BOOTSTRAP_ADMIN_KEY must have 32 to 512/])
  t.match(faultsOf({ SYNC_PROJECTS: 'false' }), [/^SYNC_PROJECTS must be on or off/])
  t.match(faultsOf({ DATABASE_POOLER: 'session' }), [/^DATABASE_POOLER must be/])
  t.match(faultsOf({ SHUTDOWN_DELAY_SECONDS: '301' }), [/^SHUTDOWN_DELAY_SECONDS must be/])
  for (const TRUST_PROXY of ['toString', '10.0.0.0/33', '10.0.0.0/8/8', 'fd00::/129', '1'])
    t.match(faultsOf({ TRUST_PROXY }), [/^TRUST_PROXY/], TRUST_PROXY)
})

t.test('a master key is 32 bytes in base64 or base64url, with or without padding', async (t) => {
  const bytes = Buffer.alloc(32, 251)
  for (const text of [
    bytes.toString('base64'),
    bytes.toString('base64url'),
    bytes.toString('base64').replace('=', ''),
  ])
    t.same(decodeMasterKey(text), new Uint8Array(bytes), text)
  for (const text of ['', 'FAKE', KEY.slice(1), `${KEY}A`, bytes.toString('hex'), `${KEY.slice(0, 42)}!=`])
    t.equal(decodeMasterKey(text), undefined, text)
})

t.test('under which host names it answers', (t) => {
  const hosts = (env: Record<string, string>) =>
    readConfig({ DATABASE_URL, MASTER_KEY: KEY, ...env }).allowedHosts
  t.same(readConfig({}).allowedHosts, [], 'on loopback: those of this machine')
  t.equal(readConfig({ HOST: '0.0.0.0' }).allowedHosts, undefined, 'any, while none is known')
  t.equal(hosts({}), undefined)
  t.same(hosts({ PUBLIC_URL: 'https://broker.example.com' }), [])
  t.same(hosts({ ALLOWED_HOSTS: 'Broker, 10.0.0.7 fd00::7,[fd00::8]' }), [
    'broker',
    '10.0.0.7',
    '[fd00::7]',
    '[fd00::8]',
  ])
  for (const ALLOWED_HOSTS of [
    'broker:8080',
    'https://broker',
    'a/b',
    'FAKE@b',
    '*',
    '*.example.com',
    'a b!',
  ])
    t.match(faultsOf({ ALLOWED_HOSTS }), [/^ALLOWED_HOSTS /], ALLOWED_HOSTS)
  t.end()
})

t.test('a command may give the master key', async (t) => {
  const command = (MASTER_KEY_COMMAND: string) => ({
    DATABASE_URL,
    MASTER_KEY_COMMAND,
    PATH: process.env.PATH ?? '',
  })
  t.same(readConfig(command(`echo '${KEY}'`)).masterKeys, [new Uint8Array(Buffer.from(KEY, 'base64'))])
  t.equal(readConfig(command(`printf '%s,%s' '${KEY}' '${KEY}'`)).masterKeys.length, 2, 'several, too')
  t.match(faultsOf({ ...command('echo'), MASTER_KEY: KEY }), [
    /^MASTER_KEY and MASTER_KEY_COMMAND are both set/,
  ])
  for (const [text, fault] of [
    ['echo FAKE-error >&2; exit 3', /^MASTER_KEY_COMMAND failed with exit code 3$/],
    ['echo', /^MASTER_KEY_COMMAND printed nothing$/],
    ['echo FAKE-output', /^MASTER_KEY_COMMAND: key 1 is not 32 bytes/],
    ['/FAKE/no/such/command', /^MASTER_KEY_COMMAND failed with exit code 127$/],
    ['kill -9 $$', /^MASTER_KEY_COMMAND was ended by SIGKILL$/],
    ['head -c 9000 /dev/zero', /^MASTER_KEY_COMMAND printed more than 4096 bytes/],
  ] as const) {
    const faults = faultsOf(command(text))
    t.match(faults, [fault], text)
    t.notMatch(faults.join(), /FAKE/)
  }
})

t.test('a command that does not end is ended', async (t) => {
  t.same(runKeyCommand('sleep 60; echo late', { PATH: process.env.PATH }, 200), {
    fault: 'did not end within 0.2 seconds',
  })
})

t.test(
  'the proxy of the environment is read, the name in lower case first, and never repeated',
  async (t) => {
    const password = 'FAKE-proxy-password'
    const url = `http://user:${password}@proxy.example.com:3128`
    t.same(readConfig({ HTTPS_PROXY: url, NO_PROXY: 'localhost, .example.com 10.0.0.0/8' }).proxy, {
      url: `${url}/`,
      noProxy: ['localhost', '.example.com', '10.0.0.0/8'],
    })
    t.match(readConfig({ HTTPS_PROXY: url, https_proxy: 'other.example.com:3128' }).proxy, {
      url: 'http://other.example.com:3128/',
    })
    t.equal(readConfig({ HTTP_PROXY: url, http_proxy: url, NO_PROXY: '*' }).proxy, undefined)
    for (const wrong of [
      `socks5://user:${password}@proxy.example.com`,
      `http://${password}%zz@`,
      'http://',
      `http://%zz:${password}@proxy`,
    ]) {
      const faults = faultsOf({ HTTPS_PROXY: wrong })
      t.match(faults, [/^HTTPS_PROXY must be/], wrong)
      t.notMatch(faults.join(), password)
    }
  },
)
