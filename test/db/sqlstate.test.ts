import t from 'tap'
import { isDatabaseUnavailable, markNotOpened, markOnTheWay } from '../../src/db/availability.ts'

const fromServer = (code: string, message = 'FAKE') =>
  Object.assign(new Error(message), { code, severity: 'ERROR' })

t.test('whatever a server says is an outage', async (t) => {
  for (const [code, what] of [
    ['08006', 'connection failure'],
    ['08P01', 'a pooler without a server'],
    ['25006', 'read-only'],
    ['25P03', 'a transaction that did nothing for too long'],
    ['26000', 'a prepared statement that a pooler lost'],
    ['28000', 'no entry in pg_hba.conf'],
    ['28P01', 'wrong password'],
    ['34000', 'a portal that a pooler lost'],
    ['3D000', 'no such database'],
    ['40001', 'serialization, or a conflict with recovery'],
    ['40P01', 'deadlock'],
    ['42501', 'a right that is missing'],
    ['42P05', 'a prepared statement that is there already'],
    ['53100', 'disk full'],
    ['53200', 'out of memory'],
    ['53300', 'too many connections'],
    ['53400', 'too many files'],
    ['55000', 'database closed to connections'],
    ['55P03', 'lock not available'],
    ['57014', 'cancelled'],
    ['57P01', 'shutting down'],
    ['57P02', 'crashed'],
    ['57P03', 'starting up'],
    ['57P04', 'database dropped'],
    ['57P05', 'idle for too long'],
    ['58030', 'I/O error'],
    ['58P01', 'a file that is gone'],
    ['72000', 'snapshot too old'],
    ['F0000', 'configuration file'],
    ['XX000', 'internal error'],
    ['XX001', 'data corrupted'],
    ['XX002', 'index corrupted'],
    ['ZZ999', 'what nobody has thought of'],
  ] as const)
    t.ok(isDatabaseUnavailable(fromServer(code)), `${code}: ${what}`)
  t.ok(isDatabaseUnavailable(fromServer('0A000', 'cached plan must not change result type')))
})

t.test('except where a statement of ours is wrong', async (t) => {
  for (const [code, what] of [
    ['0A000', 'not supported'],
    ['21000', 'more than one row'],
    ['22003', 'out of range'],
    ['22021', 'not in the encoding'],
    ['22P02', 'not a uuid'],
    ['23502', 'not null'],
    ['23503', 'foreign key'],
    ['23505', 'unique'],
    ['23514', 'check'],
    ['24000', 'cursor'],
    ['2F000', 'function'],
    ['3F000', 'no such schema'],
    ['42601', 'syntax'],
    ['42703', 'no such column'],
    ['42P01', 'no such table'],
    ['44000', 'check of a view'],
    ['54023', 'too many arguments'],
    ['P0001', 'raised in a function'],
  ] as const)
    t.notOk(isDatabaseUnavailable(fromServer(code)), `${code}: ${what}`)
})

t.test(
  'what fails on the way to the server is an outage; the same elsewhere, and a bug, are not',
  async (t) => {
    const onTheWay = (error: Error) => isDatabaseUnavailable(markOnTheWay(error))
    for (const code of [
      'ECONNREFUSED',
      'ENETUNREACH',
      'EHOSTUNREACH',
      'EMFILE',
      'ENFILE',
      'EAI_AGAIN',
      'ENOENT',
    ])
      t.ok(onTheWay(Object.assign(new Error('FAKE'), { code })), code)
    for (const code of [
      'CERT_HAS_EXPIRED',
      'DEPTH_ZERO_SELF_SIGNED_CERT',
      'ERR_TLS_CERT_ALTNAME_INVALID',
      'EPROTO',
    ])
      t.ok(onTheWay(Object.assign(new Error('FAKE'), { code })), code)
    t.ok(onTheWay(new Error('The server does not support SSL connections')))
    t.ok(onTheWay(new Error('Connection terminated unexpectedly')))
    t.ok(onTheWay(new AggregateError([new Error('FAKE')])), 'of a host with two addresses')
    t.notOk(isDatabaseUnavailable(Object.assign(new Error('FAKE'), { code: 'ECONNREFUSED' })), 'of a GitLab')
    t.notOk(onTheWay(new TypeError('x is not a function')))
    t.notOk(onTheWay(fromServer('23505')))
    t.ok(isDatabaseUnavailable(markNotOpened(fromServer('42704', 'unrecognized configuration parameter'))))
  },
)
