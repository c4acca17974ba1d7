import t from 'tap'
import { createLogger } from '../src/log.ts'

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
