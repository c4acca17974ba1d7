import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { parse } from 'yaml'
import { createEmptyDatabase } from './support/database.ts'
import { freePort } from './support/postgres.ts'

const ROOT = join(import.meta.dirname, '..')
const SECRETS = [
  'audit_password',
  'bootstrap_admin_key',
  'database_admin_url',
  'database_migrate_url',
  'database_password',
  'database_url',
  'master_key',
  'migrate_password',
  'serve_password',
]
const read = (name: string) => readFile(join(ROOT, name), 'utf8')

const readCompose = async () => parse(await read('docker-compose.yml'), { merge: true })

const makeSecrets = async (folder: string): Promise<string> => {
  await mkdir(join(folder, 'scripts'), { recursive: true })
  await cp(join(ROOT, 'scripts/make-secrets.sh'), join(folder, 'scripts/make-secrets.sh'))
  const { stdout } = await promisify(execFile)('sh', [join(folder, 'scripts/make-secrets.sh')])
  return stdout
}

/** `COPY a b target` of the last stage, without what comes from another stage. */
const copiedFiles = (dockerfile: string): string[] =>
  [...dockerfile.slice(dockerfile.lastIndexOf('FROM ')).matchAll(/^COPY (?!--)(.+)$/gm)].flatMap(
    ([, list = '']) => list.split(' ').slice(0, -1),
  )

t.test(
  'the secrets are made once, in a folder for one, readable by the users in the containers',
  async (t) => {
    const folder = t.testdir()
    t.match(await makeSecrets(folder), /master_key made/)
    const secrets = join(folder, 'secrets')
    t.equal((await stat(secrets)).mode & 0o777, 0o700)
    const contents = await Promise.all(SECRETS.map((name) => readFile(join(secrets, name), 'utf8')))
    for (const name of SECRETS) t.equal((await stat(join(secrets, name))).mode & 0o777, 0o444)
    t.equal(new Set(contents).size, SECRETS.length)

    const secretOf = (name: string) => contents[SECRETS.indexOf(name)]?.trim()
    for (const [url, role, password] of [
      ['database_admin_url', 'broker', 'database_password'],
      ['database_migrate_url', 'broker_migrate', 'migrate_password'],
      ['database_url', 'broker_serve', 'serve_password'],
    ] as const)
      t.equal(secretOf(url), `postgresql://${role}:${secretOf(password)}@database:5432/broker`)

    t.match(await makeSecrets(folder), /master_key is there already/)
    t.same(await Promise.all(SECRETS.map((name) => readFile(join(secrets, name), 'utf8'))), contents)
  },
)

t.test('docker-compose.yml asks for the secrets that are made, and for nothing else', async (t) => {
  const compose = await readCompose()
  t.same(Object.keys(compose.secrets).sort(), SECRETS)
  for (const name of SECRETS) t.equal(compose.secrets[name].file, `secrets/${name}`)
  const used = Object.values<{ secrets: string[] }>(compose.services).flatMap(({ secrets }) => secrets)
  t.same([...new Set(used)].sort(), SECRETS)
})

t.test(
  'only what makes the roles knows the superuser, and the broker starts after the migration',
  async (t) => {
    const { services } = await readCompose()
    t.same(services.broker.secrets, ['database_url', 'master_key', 'bootstrap_admin_key'])
    t.same(services.migrate.secrets, ['database_migrate_url'])
    const knows = Object.keys(services).filter((name) =>
      services[name].secrets.some((secret: string) => /^database_(admin_url|password)$/.test(secret)),
    )
    t.same(knows, ['database', 'roles'])
    t.equal(services.roles.depends_on.database.condition, 'service_healthy')
    t.equal(services.migrate.depends_on.roles.condition, 'service_completed_successfully')
    t.equal(services.broker.depends_on.migrate.condition, 'service_completed_successfully')
    t.same(services.roles.command, ['node', 'src/cli.ts', 'roles', 'apply'])
    t.same(services.migrate.command, ['node', 'src/cli.ts', 'migrate'])
    for (const name of ['roles', 'migrate', 'broker']) {
      t.equal(services[name].read_only, true)
      t.same(services[name].cap_drop, ['ALL'])
    }
  },
)

t.test('secrets of an earlier version lead to the database as a role that only serves', async (t) => {
  const folder = t.testdir({
    secrets: { database_password: 'FAKE\n', database_url: 'postgresql://broker:FAKE@database:5432/broker\n' },
  })
  await makeSecrets(folder)
  const url = await readFile(join(folder, 'secrets/database_url'), 'utf8')
  t.match(url, /^postgresql:\/\/broker_serve:/)
  t.equal(await readFile(join(folder, 'secrets/database_password'), 'utf8'), 'FAKE\n')
  t.match(await readFile(join(folder, 'secrets/database_admin_url'), 'utf8'), '//broker:FAKE@')
})

t.test('every image has an exact version', async (t) => {
  const images = [
    ...[...(await read('Dockerfile')).matchAll(/^FROM (\S+)/gm)].map(([, image]) => image),
    (await readCompose()).services.database.image,
  ]
  t.ok(images.length >= 3)
  for (const image of images) t.match(image, /^(node:\d+\.\d+\.\d+|postgres:\d+\.\d+)-/)
})

t.test('the build context holds what the Dockerfile copies, and nothing else', async (t) => {
  const allowed = (await read('.dockerignore')).split('\n').filter((line) => line.startsWith('!'))
  t.same(
    allowed.map((line) => line.slice(1)).sort(),
    [...new Set(copiedFiles(await read('Dockerfile')))].sort(),
  )
})

t.test('what the image holds starts with those secrets, and ends on SIGTERM', async (t) => {
  const folder = t.testdir()
  const files = copiedFiles(await read('Dockerfile'))
  t.ok(files.includes('src') && files.includes('migrations'))
  for (const file of files) await cp(join(ROOT, file), join(folder, file), { recursive: true })
  await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  await makeSecrets(folder)
  const secret = (name: string) => join(folder, 'secrets', name)
  const database = await createEmptyDatabase(t)
  const urlFile = join(folder, 'database_url')
  await writeFile(urlFile, `${database.url}\n`)

  const port = await freePort()
  const { environment } = (await readCompose()).services.broker
  const child = spawn(process.execPath, ['src/main.ts'], {
    cwd: folder,
    env: {
      PORT: String(port),
      HOST: '127.0.0.1',
      DATA_DIR: join(folder, 'data'),
      ...Object.fromEntries(
        Object.keys(environment)
          .filter((name) => name.endsWith('_FILE'))
          .map((name) => [name, secret(name.replace(/_FILE$/, '').toLowerCase())]),
      ),
      DATABASE_URL_FILE: urlFile,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  let log = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    log += text
  })
  const ended = once(child, 'exit')
  while (!log.includes('"msg":"listening"')) await Promise.race([once(child.stdout, 'data'), ended])

  const healthcheck = /HEALTHCHECK[^\n]*\\\n +CMD (\[.*\])/.exec(await read('Dockerfile'))?.[1]
  const [, ...args] = JSON.parse(healthcheck ?? '[]') as string[]
  await promisify(execFile)(process.execPath, args, { env: { PORT: String(port) } })
  await t.rejects(promisify(execFile)(process.execPath, args, { env: { PORT: String(await freePort()) } }))

  const adminKey = (await readFile(secret('bootstrap_admin_key'), 'utf8')).trim()
  const answer = await fetch(`http://127.0.0.1:${port}/v1/instances`, {
    headers: { authorization: `Bearer ${adminKey}` },
  })
  t.equal(answer.status, 200)
  t.notMatch(log, adminKey, 'a key from outside is not shown')
  child.kill('SIGTERM')
  t.same(await ended, [0, null])
})
