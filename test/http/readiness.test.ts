import t from 'tap'
import { CATALOGUE } from '../../src/errors/catalogue.ts'
import { createProcessState, judgeReadiness, type ReadinessFacts } from '../../src/http/readiness.ts'
import { startTestBroker } from '../support/broker.ts'

const FINE: ReadinessFacts = {
  state: createProcessState(),
  database: { writeTrouble: undefined, schema: { usable: true, detail: 'FAKE schema' } },
  spoolTrouble: undefined,
  clockAheadMs: 0,
  history: { wentBackAt: undefined },
}

const outcomes = (facts: Partial<ReadinessFacts>): string => {
  const { checks } = judgeReadiness({ ...FINE, ...facts })
  return checks
    .filter(({ outcome }) => outcome !== 'ok')
    .map(({ name, outcome }) => `${name} ${outcome}`)
    .join(', ')
}
const refusal = (facts: Partial<ReadinessFacts>) => judgeReadiness({ ...FINE, ...facts }).refusal

t.test('ready is who has every check, each named', async (t) => {
  const { checks, refusal } = judgeReadiness(FINE)
  t.equal(refusal, undefined)
  t.same(
    checks.map(({ name }) => name),
    ['serving', 'database', 'writable', 'schema', 'keys', 'spool', 'history', 'clock'],
  )
  for (const { detail } of checks) t.ok(detail)
})

t.test('each fault fails its own check, with a code and a reason', async (t) => {
  const away = { failure: 'FAKE cause', isReadOnly: false }
  const cases: [
    facts: Partial<ReadinessFacts>,
    outcomes: string,
    code: keyof typeof CATALOGUE,
    detail: RegExp,
  ][] = [
    [
      { history: { wentBackAt: undefined, unsettledSeconds: 31, behind: 1 } },
      'history failed',
      'not_ready',
      /31 s .* no token/,
    ],
    [
      { database: away },
      'database failed, writable unknown, schema unknown',
      'database_unavailable',
      /FAKE cause/,
    ],
    [
      { database: { failure: 'FAKE standby', isReadOnly: true } },
      'writable failed, schema unknown',
      'database_unavailable',
      /FAKE standby/,
    ],
    [
      { database: { ...FINE.database, writeTrouble: '53100' } as ReadinessFacts['database'] },
      'writable failed',
      'database_unavailable',
      /53100/,
    ],
    [
      { database: { writeTrouble: undefined, schema: { usable: false, detail: 'FAKE missing' } } },
      'schema failed',
      'not_ready',
      /FAKE missing/,
    ],
    [{ spoolTrouble: 'FAKE folder' }, 'spool failed', 'not_ready', /FAKE folder/],
    [{ clockAheadMs: 10_001 }, 'clock failed', 'not_ready', /10 s ahead of/],
    [{ clockAheadMs: -3_600_000 }, 'clock failed', 'not_ready', /3600 s behind/],
    [{ state: createProcessState({ draining: true }) }, 'serving failed', 'draining', /ends soon/],
    [
      { state: createProcessState({ waitingFor: 'FAKE step', keysOpen: false }) },
      'serving failed, keys failed',
      'not_ready',
      /keys/,
    ],
    [
      { database: away, state: createProcessState({ waitingFor: 'FAKE step', keysOpen: false }) },
      'serving failed, database failed, writable unknown, schema unknown, keys failed',
      'database_unavailable',
      /FAKE cause/,
    ],
  ]
  for (const [facts, expected, code, detail] of cases) {
    t.equal(outcomes(facts), expected)
    t.match(refusal(facts), { code, detail })
    t.equal(CATALOGUE[code][0], 503)
  }
})

t.test('a clock that is a little off is a warning, and no reason to go elsewhere', async (t) => {
  t.equal(outcomes({ clockAheadMs: 2_000 }), '')
  t.equal(outcomes({ clockAheadMs: -2_001 }), 'clock warning')
  t.equal(refusal({ clockAheadMs: 10_000 }), undefined)
})

t.test('a spool that cannot be written is told with its folder', async (t) => {
  const { file } = { file: t.testdir({ file: 'FAKE' }) }
  const broker = await startTestBroker(t, { config: { dataDir: `${file}/file` } })
  const { status, headers, body } = await broker.get('/readyz', { key: null })
  t.equal(status, 503)
  t.equal(headers.get('content-type'), 'application/problem+json')
  t.match(body, { code: 'not_ready', detail: `The folder ${file}/file/spool cannot be written` })
  const spool = body.checks.find(({ name }: { name: string }) => name === 'spool')
  t.match(spool, { outcome: 'failed' })
})
