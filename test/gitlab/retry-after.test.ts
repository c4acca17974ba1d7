import t from 'tap'
import { readRetryAfter } from '../../src/gitlab/http-client.ts'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { connect, lookUp, OUT, REFRESH, rowOf } from '../support/lifecycle.ts'

const NOW = Date.parse('2026-11-02T10:30:00Z')
const httpDate = (time: number) => new Date(time).toUTCString()
const HOUR_MS = 3_600_000

const CASES: [
  name: string,
  headers: { 'retry-after'?: string; date?: string },
  seconds: number | undefined,
][] = [
  ['nothing', {}, undefined],
  ['a Date alone', { date: httpDate(NOW) }, undefined],
  ['seconds', { 'retry-after': '7', date: httpDate(0) }, 7],
  ['more than an hour', { 'retry-after': '86400' }, 3_600],
  ['digits without end', { 'retry-after': '9'.repeat(400) }, 3_600],
  ['a negative number', { 'retry-after': '-5' }, 0],
  ['nonsense', { 'retry-after': 'soon', date: httpDate(NOW) }, undefined],
  ['a date', { 'retry-after': httpDate(NOW + 30_000) }, 30],
  ['a date of clocks that agree', { 'retry-after': httpDate(NOW + 30_000), date: httpDate(NOW) }, 30],
  [
    'a GitLab an hour ahead',
    { 'retry-after': httpDate(NOW + HOUR_MS + 30_000), date: httpDate(NOW + HOUR_MS) },
    30,
  ],
  [
    'a GitLab an hour behind',
    { 'retry-after': httpDate(NOW - HOUR_MS + 30_000), date: httpDate(NOW - HOUR_MS) },
    30,
  ],
  ['a date that is over', { 'retry-after': httpDate(NOW - 1_000), date: httpDate(NOW) }, 0],
  ['a Date that is none', { 'retry-after': httpDate(NOW + 30_000), date: 'today' }, 30],
]

t.test('Retry-After is read by the clock of the answer', async (t) => {
  for (const [name, headers, seconds] of CASES) t.equal(readRetryAfter(headers, NOW), seconds, name)
})

t.test(
  'a pause that GitLab names as a date lasts as long as GitLab means, whatever its clock shows',
  async (t) => {
    const stage = await setStage(t)
    const { broker, simulator, clock } = stage
    const id = await connect(stage)
    const pasted = await connectToken(stage)
    clock.advance(OUT)
    const behind = clock() - HOUR_MS
    const headers = { 'retry-after': httpDate(behind + 90_000), date: httpDate(behind) }
    const effect = { kind: 'status' as const, status: 503, headers }
    simulator.faults.add({ match: REFRESH, effect })
    simulator.faults.add({ match: { path: '/api/v4/personal_access_tokens/self' }, effect })

    const lookup = await lookUp(stage, id)
    t.equal(lookup.status, 503)
    t.equal(lookup.headers.get('retry-after'), '90')
    t.same((await rowOf(stage, id)).retry_after, new Date(clock() + 90_000))
    const verification = await broker.post(`/v1/connections/${pasted.id}/verify`)
    t.equal(verification.status, 503)
    t.equal(verification.headers.get('retry-after'), '90')
  },
)
