import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { createAuditLog, createLogger } from '../src/log.ts'

const logged = (write: (logger: ReturnType<typeof createLogger>) => void) => {
  const lines: string[] = []
  write(createLogger('trace', { write: (line: string) => void lines.push(line) }))
  return { text: lines.join(''), lines: lines.map((line) => JSON.parse(line)) }
}

t.test('a line is JSON with the level by name and the time in UTC', async (t) => {
  const { lines } = logged((logger) => logger.info({ connection_id: 'an-id' }, 'refreshed'))
  t.match(lines, [{ level: 'info', time: /^\d{4}-.*Z$/, connection_id: 'an-id', msg: 'refreshed' }])
  t.notOk('pid' in lines[0] || 'hostname' in lines[0])
})

t.test('fields that hold secrets are masked, two levels deep, should anybody log them', async (t) => {
  const secrets = {
    token: 'FAKE-1',
    client_secret: 'FAKE-2',
    headers: { authorization: 'FAKE-3', cookie: 'FAKE-4' },
  }
  const { text } = logged((logger) => logger.warn(secrets, 'oops'))
  t.notMatch(text, 'FAKE')
  t.match(text, '[redacted]')
})

t.test('an error is its type, message, code and stack, and none of what libraries hang on it', async (t) => {
  const error = Object.assign(new Error('it broke'), {
    code: '23505',
    detail: 'Key (token)=(FAKE-token) already exists.',
    config: { headers: { authorization: 'Bearer FAKE' } },
    data: { payload: { access_token: 'FAKE' } },
  })
  const { text, lines } = logged((logger) => logger.error({ err: error }, 'unexpected error'))
  t.match(lines[0].err, { type: 'Error', message: 'it broke', code: '23505', stack: /log\.test\.ts/ })
  t.same(Object.keys(lines[0].err).sort(), ['code', 'message', 'stack', 'type'])
  t.notMatch(text, 'FAKE')
  const odd = logged((logger) => logger.error({ err: 'FAKE' }, 'thrown'))
  t.notMatch(odd.text, 'FAKE')
})

t.test(
  'messages that quote what they were given, or hold what looks like a secret, are masked',
  async (t) => {
    const parse = (text: string): unknown => {
      try {
        return JSON.parse(text)
      } catch (error) {
        return error
      }
    }
    const postgres = Object.assign(new Error('invalid input syntax for type uuid: "FAKE "quoted" FAKE"'), {
      code: '22P02',
    })
    const argument = Object.assign(new TypeError("The argument must be a string. Received 'FAKE'"), {
      code: 'ERR_INVALID_ARG_TYPE',
    })
    for (const error of [
      parse('glpat-FAKE-0123456789'),
      parse('{"FAKE": FAKE}'),
      postgres,
      argument,
      new Error('postgres://FAKE-user:FAKE-password@db.example.com/broker is away'),
      new Error('Bearer FAKE0123456789 was refused'),
      new Error('token glpat-FAKE-0123456789.01.0a was refused'),
      new Error('key gtb_adm_FAKE_0123 was refused'),
      new Error(`pair ${'0fa4e'.repeat(13)} was refused`),
      new Error('eyJGQUtF..FAKE.FAKE.FAKE does not open'),
    ]) {
      const { text, lines } = logged((logger) => logger.error({ err: error }, 'unexpected error'))
      t.notMatch(text, /FAKE|0fa4e0fa4e/, (error as Error).message)
      t.match(lines[0].err, {
        message: /\[redacted\]/,
        stack: /\[redacted\][\s\S]*\n {4}at /,
        type: /Error$/,
      })
    }
  },
)

const LOG = new URL('../src/log.ts', import.meta.url).href

const runLogging = (body: string) => {
  const script = `import { createLogger } from ${JSON.stringify(LOG)}; const logger = createLogger('info'); ${body}`
  return spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
}

t.test('standard output has every line in order, also those right before an exit', async (t) => {
  const child = runLogging(`
    for (let turn = 0; turn < 3; turn += 1) {
      for (let line = 0; line < 50; line += 1) logger.info({ turn, line }, 'written')
      await new Promise(setImmediate)
    }
    logger.fatal('the last')
    process.exit(3)`)
  const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')])
  const lines = output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  t.equal(code, 3)
  t.equal(lines.length, 151)
  t.equal(lines.at(-1).msg, 'the last')
  t.same(
    lines.slice(0, -1).map(({ turn, line }) => turn * 50 + line),
    Array.from({ length: 150 }, (_, number) => number),
  )
})

t.test('a line does not wait for the next one', async (t) => {
  const child = runLogging(`logger.info('listening'); setInterval(() => {}, 1000)`)
  const [line] = await once(child.stdout, 'data')
  t.match(JSON.parse(line), { msg: 'listening' })
  child.kill('SIGKILL')
  await once(child, 'exit')
})

t.test('nobody reading the log ends nothing', async (t) => {
  const child = runLogging(`
    logger.info('the first')
    for (let turn = 0; turn < 1000; turn += 1) {
      logger.info({ turn }, 'written')
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    process.exit(0)`)
  await once(child.stdout, 'data')
  child.stdout.destroy()
  const [code, signal] = await once(child, 'exit')
  t.same([code, signal], [0, null])
})

t.test('lines of the audit record are there at every level but silent', async (t) => {
  for (const [level, count] of [
    ['trace', 1],
    ['fatal', 1],
    ['silent', 0],
  ] as const) {
    const lines: string[] = []
    const logger = createLogger(level, { write: (line: string) => void lines.push(line) })
    createAuditLog(logger).info({ event: { action: 'connection.created' } }, 'audit event')
    t.equal(lines.length, count, level)
    for (const line of lines) t.match(JSON.parse(line), { audit: true, level: 'info', msg: 'audit event' })
  }
})
