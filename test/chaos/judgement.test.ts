import t from 'tap'
import { type Evidence, isForgottenLease, judge } from './judgement.ts'
import type { ConnectionState } from './states.ts'

const AT = Date.parse('2026-11-02T12:00:00Z')
const grantId = 'grant-1'
const connectionId = 'connection-1'

const state = (changes: Partial<ConnectionState>): ConnectionState => ({
  id: connectionId,
  grantId,
  status: 'active',
  statusReason: null,
  tokenVersion: 2,
  claimed: false,
  unansweredSince: null,
  refusedSince: null,
  failures: 0,
  failureCode: null,
  retryAfter: null,
  ...changes,
})
const event = (kind: string, generation: number, at = AT) => ({
  at,
  kind,
  tokenKind: 'oauth',
  grantId,
  generation,
})
const note = (what: 'sent' | 'failed' | 'saved' | 'kept', at = AT - 10) => ({
  incarnation: 'broker-1.1',
  at,
  connectionId,
  tokenVersion: 1,
  what,
})
const ending = (how: 'killed' | 'stopped', at: number) => ({
  incarnation: 'broker-1.1',
  at,
  how,
  lastWords: '',
})
const issued = (fault?: string) => ({
  at: AT,
  method: 'POST',
  path: '/oauth/token',
  query: {},
  issued: { grantId, generation: 2 },
  ...(fault === undefined ? {} : { fault }),
})

/** A refresh that went well, unless told otherwise. */
const judgeWith = (changes: Partial<Evidence>) =>
  judge({
    events: [event('refreshed', 2)],
    issuing: [issued()],
    notes: [note('sent'), note('saved', AT + 10)],
    endings: [],
    starts: [],
    gaps: [],
    finals: [state({})],
    ...changes,
  })

const REPLAY = event('replay_of_spent_refresh_token', 1, AT + 40_000)
const IN_DOUBT = state({
  tokenVersion: 1,
  unansweredSince: new Date(AT),
  failureCode: 'refresh_answer_lost',
})

t.test('a refresh that went well is no violation', async (t) => {
  t.match(judgeWith({}), { refreshes: 1, losses: [], violations: [] })
})

t.test('what must not be is a violation', async (t) => {
  const cases: Record<string, Partial<Evidence>> = {
    'a generation that was issued twice': { events: [event('refreshed', 2), event('refreshed', 2)] },
    'a replay after the successor was saved': { events: [event('refreshed', 2), REPLAY] },
    'a replay that nothing explains': {
      events: [event('refreshed', 2), REPLAY],
      notes: [note('sent')],
    },
    'a loss that nothing explains': { notes: [note('sent')], finals: [IN_DOUBT] },
    'the loss of what was on the disk': {
      notes: [note('sent'), note('kept')],
      endings: [ending('killed', AT + 100)],
      finals: [IN_DOUBT],
    },
    'a loss by a process that was stopped in order': {
      notes: [note('sent')],
      endings: [ending('stopped', AT + 100)],
      finals: [IN_DOUBT],
    },
    'a loss by a process that held the token for long': {
      notes: [note('sent')],
      endings: [ending('killed', AT + 20_000)],
      finals: [IN_DOUBT],
    },
    'a loss under another cause than the first': {
      issuing: [issued('cut-after')],
      finals: [
        state({ tokenVersion: 1, status: 'needs_reauthorization', statusReason: 'refresh_token_refused' }),
      ],
    },
    'a loss that leaves no doubt about the dead token': {
      issuing: [issued('cut-after')],
      finals: [{ ...IN_DOUBT, unansweredSince: null }],
    },
    'the end of a connection that has the last token': {
      finals: [state({ status: 'needs_reauthorization', statusReason: 'refresh_token_refused' })],
    },
    'a connection that is two refreshes behind': {
      events: [event('refreshed', 2), event('refreshed', 3)],
      issuing: [issued('cut-after')],
      finals: [IN_DOUBT],
    },
  }
  for (const [name, changes] of Object.entries(cases)) {
    t.equal(judgeWith(changes).violations.length, 1, name)
  }
})

t.test(
  'what cannot be saved is a loss with its reason, and its recovery retry is no violation',
  async (t) => {
    const ways: Record<string, Partial<Evidence>> = {
      'cut after GitLab had acted': { issuing: [issued('cut-after')] },
      'the process was killed': { endings: [ending('killed', AT + 300)] },
      'killed before GitLab got to it': { endings: [ending('killed', AT - 5)] },
      'GitLab acted after a proxy had answered': { issuing: [] },
      'killed before its log had caught up': { notes: [], endings: [ending('killed', AT + 300)] },
    }
    for (const [name, changes] of Object.entries(ways)) {
      const events = [event('refreshed', 2), REPLAY]
      const verdict = judgeWith({ events, notes: [note('sent')], finals: [IN_DOUBT], ...changes })
      t.match(verdict, { violations: [], losses: [{ connectionId, marked: 'in doubt' }] }, name)
      t.equal(verdict.replays.size, 1)
    }
  },
)

t.test('a loss by an act too late may be known by the refusal alone, but in doubt it is', async (t) => {
  const late = { notes: [note('sent', AT - 9_500)], issuing: [] }
  const refused = { ...IN_DOUBT, failureCode: 'refresh_token_refused' }
  t.strictSame(judgeWith({ ...late, finals: [refused] }).violations, [])
  t.equal(judgeWith({ ...late, finals: [{ ...refused, unansweredSince: null }] }).violations.length, 1)
  const prompt = { notes: [note('sent')], issuing: [issued('cut-after')] }
  t.equal(judgeWith({ ...prompt, finals: [refused] }).violations.length, 1)
})

t.test(
  'a token that waited on the disk explains the retry of another replica, and is saved in the end',
  async (t) => {
    const events = [event('refreshed', 2), REPLAY]
    const notes = [note('sent'), note('kept', AT + 100), note('saved', AT + 60_000)]
    const { violations, losses, replays } = judgeWith({ events, notes })
    t.match({ violations, losses }, { violations: [], losses: [] })
    t.strictSame([...replays.keys()], ['the answer waited for the database'])
  },
)

t.test('GitLab may get late to a request that was sent before the successor was saved', async (t) => {
  const events = [event('refreshed', 2), REPLAY]
  const notes = [note('sent', AT - 33_000), note('sent'), note('saved', AT + 10)]
  const { violations, replays } = judgeWith({ events, notes })
  t.strictSame(violations, [])
  t.strictSame([...replays.keys()], ['GitLab got to it after the successor was saved'])
  const after = [...notes, note('sent', AT + 39_000)]
  t.equal(judgeWith({ events, notes: after }).violations.length, 1)
})

t.test(
  'what a process saved and could not retain before it was killed is lost when the database goes back',
  async (t) => {
    const events = [event('refreshed', 2), REPLAY]
    const gaps = [{ from: AT - 100, to: AT + 20_000 }]
    const lost = { ...IN_DOUBT, failureCode: 'database_went_back' }
    const killed = { events, gaps, endings: [ending('killed', AT + 1_000)], finals: [lost] }
    t.match(judgeWith(killed), {
      violations: [],
      losses: [{ connectionId, heldMs: 990 }],
    })
    const alive = { ...killed, endings: [ending('killed', AT + 10_000)] }
    t.equal(judgeWith(alive).violations.length, 1, 'a process that lived on has it on the disk')
    const kept = { ...killed, gaps: [{ from: AT + 15_000, to: AT + 20_000 }] }
    t.equal(judgeWith(kept).violations.length, 2, 'what was saved before the gap is in the database')
    const never = { ...killed, gaps: [] }
    t.equal(judgeWith(never).violations.length, 2, 'and without a gap nothing went back')
  },
)

t.test('the first cause stays where GitLab refused the token before it took it', async (t) => {
  const finals = [{ ...IN_DOUBT, failureCode: 'refresh_token_refused' }]
  const lost = { finals, endings: [ending('killed', AT + 100)] }
  const notes = [note('sent', AT - 9_000), note('failed', AT - 8_000), note('sent')]
  t.match(judgeWith({ ...lost, notes }), { violations: [], losses: [{ connectionId }] })
  t.equal(judgeWith({ ...lost, notes: [note('sent')] }).violations.length, 1, 'not without a failure before')
})

t.test('a database may forget a request that GitLab acts on later', async (t) => {
  const finals = [{ ...IN_DOUBT, failureCode: 'database_went_back' }]
  const lost = { issuing: [issued('cut-after')], notes: [note('sent', AT - 3_000)], finals }
  const forgotten = { ...lost, gaps: [{ from: AT - 5_000, to: AT - 1_000 }] }
  t.match(judgeWith(forgotten), { violations: [], losses: [{ connectionId }] })
  const before = { ...lost, gaps: [{ from: AT - 9_000, to: AT - 4_000 }] }
  t.equal(judgeWith(before).violations.length, 1, 'none that was sent after it went back')
})

t.test('a broker that was away when the database went back brings the successor later', async (t) => {
  const events = [event('refreshed', 2), REPLAY]
  const gaps = [{ from: AT - 100, to: AT + 20_000 }]
  const away = { events, gaps, endings: [ending('stopped', AT + 15_000)] }
  const { violations, replays } = judgeWith(away)
  t.strictSame(violations, [])
  t.strictSame(
    [...replays.keys()],
    ['the database went back, and the broker that had the successor was away'],
  )
  t.equal(
    judgeWith({ ...away, endings: [] }).violations.length,
    1,
    'one that was there had to bring it before',
  )
  t.equal(judgeWith({ ...away, finals: [IN_DOUBT] }).violations.length, 1, 'and it has to bring it')
})

t.test('a second send before the save has to have a reason', async (t) => {
  const events = [event('refreshed', 2), REPLAY]
  const two = (earlier: number) => [note('sent', AT - earlier), note('sent'), note('saved', AT + 10)]
  t.equal(judgeWith({ events, notes: two(5_000) }).violations.length, 1, 'both had the claim at once')
  const reasons: Record<string, Partial<Evidence>> = {
    'its claim had run out': { notes: two(31_000) },
    'its process had ended': { notes: two(5_000), endings: [ending('killed', AT - 3_000)] },
    'it had failed': { notes: [...two(5_000), note('failed', AT - 3_000)] },
    'the database had lost its claim': { notes: two(5_000), gaps: [{ from: AT - 6_000, to: AT - 2_000 }] },
  }
  for (const [name, changes] of Object.entries(reasons))
    t.strictSame(judgeWith({ events, ...changes }).violations, [], name)
  const other = { ...ending('killed', AT - 3_000), incarnation: 'broker-2.1' }
  t.equal(
    judgeWith({ events, notes: two(5_000), endings: [other] }).violations.length,
    1,
    'another process ended',
  )
  const before = { notes: [...two(5_000), note('failed', AT - 6_000)] }
  t.equal(judgeWith({ events, ...before }).violations.length, 1, 'what failed before says nothing')
})

t.test(
  'a broker that was back in time, or ended long after, was not away when the database went back',
  async (t) => {
    const events = [event('refreshed', 2), REPLAY]
    const gaps = [{ from: AT - 100, to: AT + 20_000 }]
    const start = (at: number) => ({ incarnation: 'broker-1.2', at })
    const away = (endedAt: number, startedAt?: number) =>
      judgeWith({
        events,
        gaps,
        endings: [ending('stopped', endedAt)],
        starts: startedAt === undefined ? [] : [start(startedAt)],
      }).violations.length
    t.equal(away(AT + 15_000, AT + 22_000), 0)
    t.equal(away(AT + 8_000, AT + 9_000), 1, 'it served for eleven seconds when the database went back')
    t.equal(away(AT + 38_000), 1, 'it had eighteen seconds to offer what it had')
  },
)

t.test('a lease is forgotten when the database has lost it, not before', async (t) => {
  const gaps = [{ from: AT, to: AT + 20_000 }]
  t.ok(isForgottenLease(AT + 5_000, AT + 21_000, gaps))
  t.notOk(isForgottenLease(AT + 5_000, AT + 10_000, gaps), 'the database still knew of it')
  t.notOk(isForgottenLease(AT - 5_000, AT + 21_000, gaps), 'it was given before')
  t.notOk(isForgottenLease(AT + 5_000, undefined, gaps), 'nothing took its place')
})
