import { once } from 'node:events'
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { createTestDatabase } from './support/database.ts'
import { freePort } from './support/postgres.ts'
import { startMain } from './support/process.ts'
import { startProxy } from './support/proxy.ts'

const ROOT = join(import.meta.dirname, '..')
const KEYS = [1, 2].map((fill) => Buffer.alloc(32, fill).toString('base64'))
const ADMIN_KEY_IN_TEXT = /gtb_adm_[\w-]{51}/

t.test('the first start of the embedded default makes its keys, and shows the admin key once', async (t) => {
  const dataDir = join(t.testdir({}), 'data')
  const port = await freePort()
  const env = { DATA_DIR: dataDir, PORT: String(port) }

  await t.test('a start that fails has shown nothing and lost nothing', async (t) => {
    const occupant = createServer().listen(port, '127.0.0.1')
    await once(occupant, 'listening')
    const { code, output, errors } = await startMain(t, env).ended
    occupant.close()
    t.equal(code, 1)
    t.match(errors, /^Could not start: .*EADDRINUSE/)
    t.notMatch(errors, /\n\s+at /, 'no stack')
    t.notMatch(output, ADMIN_KEY_IN_TEXT)
  })

  await t.test('the first that succeeds shows a key that works', async (t) => {
    const broker = startMain(t, env)
    await broker.listening()
    const whoAmI = (key: string) =>
      fetch(`http://127.0.0.1:${port}/v1/access-keys`, { headers: { authorization: `Bearer ${key}` } })
    const { output } = await broker.stop()
    const keys = output.match(new RegExp(ADMIN_KEY_IN_TEXT, 'g'))
    t.equal(keys?.length, 1)
    const mode = async (name: string) => ((await stat(join(dataDir, name))).mode & 0o777).toString(8)
    t.equal(await mode('master.key'), '600')
    t.equal(await mode('.'), '700')

    const second = startMain(t, env)
    await second.listening()
    t.equal((await whoAmI(keys![0])).status, 200, 'also after a restart')
    t.equal((await whoAmI(`${keys![0].slice(0, -1)}x`)).status, 401)
    const end = await second.stop()
    t.equal(end.code, 0)
    t.notMatch(end.output, ADMIN_KEY_IN_TEXT, 'the second start shows none')
    t.match(end.output, '"msg":"shutting down"')
    t.equal(end.errors, '')
  })
})

t.test('with a PostgreSQL', async (t) => {
  const { url } = await createTestDatabase(t)
  const port = await freePort()
  const env = { DATA_DIR: t.testdir({}), DATABASE_URL: url, PORT: String(port), HOST: '127.0.0.1' }
  const BOOTSTRAP_ADMIN_KEY = 'FAKE-admin-key-0123456789-0123456789'

  await t.test('while nobody has an access key, it says how to make the first', async (t) => {
    const broker = startMain(t, { ...env, MASTER_KEY: KEYS[0]! })
    await broker.said(/"level":"warn".*nobody has an access key.*BOOTSTRAP_ADMIN_KEY/)
    await broker.stop()
  })

  await t.test('it starts with a master key, ends on SIGTERM, and prints no key', async (t) => {
    const broker = startMain(t, { ...env, MASTER_KEY: KEYS[0]!, BOOTSTRAP_ADMIN_KEY })
    await broker.listening()
    const answer = await fetch(`http://127.0.0.1:${port}/v1/instances`, {
      headers: { authorization: `Bearer ${BOOTSTRAP_ADMIN_KEY}` },
    })
    t.equal(answer.status, 200)
    const { code, output } = await broker.stop()
    t.equal(code, 0)
    t.notMatch(output, BOOTSTRAP_ADMIN_KEY)
    t.notMatch(output, ADMIN_KEY_IN_TEXT)
    t.notMatch(output, /nobody has an access key/)
  })

  await t.test('a wrong master key stops the start with a message that says what to do', async (t) => {
    const { code, output, errors } = await startMain(t, { ...env, MASTER_KEY: KEYS[1]! }).ended
    t.equal(code, 1)
    t.equal(
      errors,
      'MASTER_KEY does not open the data keys of this database: it is not the key with which they were made. Start with the original key; after a rotation, list both: MASTER_KEY=<new>,<old>.\n',
    )
    t.notMatch(output + errors, KEYS[1])
  })

  await t.test('a wrong key is told as soon as the database is there, however late', async (t) => {
    const door = await startProxy(t, url)
    await door.cut()
    const broker = startMain(t, { ...env, DATABASE_URL: door.url, MASTER_KEY: KEYS[1]! })
    await broker.said(/"msg":"the database cannot be used"/)
    await door.restore()
    const { code, errors } = await broker.ended
    t.equal(code, 1)
    t.match(errors, /^MASTER_KEY does not open/)
  })
})

t.test('a wrong configuration ends at once, with all its faults and none of its values', async (t) => {
  const env = { DATABASE_URL: 'postgres://FAKE:FAKE-password@db/x', PORT: 'FAKE-port', LOG_LEVEL: 'FAKE' }
  const { code, output, errors } = await startMain(t, env).ended
  t.equal(code, 1)
  t.match(errors, /^The configuration has 3 faults:\n {2}PORT .*\n {2}MASTER_KEY .*\n {2}LOG_LEVEL .*\n$/)
  t.notMatch(errors, 'FAKE')
  t.equal(output, '')
})

/** What throws in the process when it is signalled, as a fault of ours or of a library would. */
const SECRET = 'FAKE-secret-of-a-library'
const FAULTS: Record<string, string> = {
  'an exception': 'throw fault',
  'a rejection': 'Promise.reject(fault)',
  'what is no error': `throw { token: '${SECRET}' }`,
  'several at once': `throw new AggregateError([fault], '${SECRET}')`,
}

t.test('an error that nothing handles ends the process, and shows no value', async (t) => {
  const { url } = await createTestDatabase(t)
  for (const [what, statement] of Object.entries(FAULTS)) {
    const folder = t.testdir({
      'fault.mjs': `process.on('SIGUSR2', () => {
        const fault = new TypeError('"client.secret" with value "${SECRET}\\n    at ${SECRET}" fails')
        Object.assign(fault, { code: 'ERR_OF_A_LIBRARY', _original: { client: { secret: '${SECRET}' } } })
        ${statement}
      })`,
    })
    const env = { DATABASE_URL: url, MASTER_KEY: KEYS[0]!, HOST: '127.0.0.1', PORT: '0', DATA_DIR: folder }
    const broker = startMain(t, env, { nodeArgs: ['--import', join(folder, 'fault.mjs')] })
    await broker.listening()
    broker.kill('SIGUSR2')
    const { code, output, errors } = await broker.ended
    t.equal(code, 1, what)
    t.match(errors, /^The process ends after an error that nothing handles: /, what)
    t.notOk((output + errors).includes(SECRET), what)
    if (statement.endsWith('fault')) t.match(errors, /TypeError ERR_OF_A_LIBRARY\n {4}at /, what)
  }
})

t.test('the signal that opens the inspector of Node opens none', async (t) => {
  const options = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'))
    .scripts.start.split(' ')
    .slice(1, -1)
  const image = /^CMD (\[.*\])$/m.exec(await readFile(join(ROOT, 'Dockerfile'), 'utf8'))?.[1] ?? '[]'
  t.same(JSON.parse(image).slice(1, -1), options, 'the container has the options of npm start')
  const broker = startMain(t, { DATA_DIR: t.testdir({}), PORT: '0' }, { nodeArgs: options })
  await broker.listening()
  broker.kill('SIGUSR1')
  const { errors } = await broker.stop()
  t.notMatch(errors, /Debugger listening/)
})

t.test('what the process cannot work with is named, with its path and the cause', async (t) => {
  const folder = t.testdir({ file: 'FAKE', data: {} })
  const port = String(await freePort())
  const endOf = (DATA_DIR: string) => startMain(t, { DATA_DIR, PORT: port }).ended

  for (const [DATA_DIR, cause] of [
    [join(folder, 'file'), 'it is a file, not a folder'],
    [join(folder, 'file', 'data'), 'a part of the path is a file, not a folder'],
    [join(folder, 'x'.repeat(300)), 'the path is too long'],
  ] as const) {
    const { code, errors } = await endOf(DATA_DIR)
    t.equal(code, 1)
    t.match(errors, new RegExp(`^The folder ${DATA_DIR} cannot be written: ${cause}\\.\n$`))
  }

  // What an embedded database never looks like.
  await mkdir(join(folder, 'data/pglite'))
  await writeFile(join(folder, 'data/pglite/PG_VERSION'), '9.0\n')
  const { code, errors } = await endOf(join(folder, 'data'))
  t.equal(code, 1)
  t.match(
    errors,
    `The embedded database in ${join(folder, 'data/pglite')} cannot be opened: its files do not open`,
  )
})
