import t from 'tap'
import { v7 as uuidv7 } from 'uuid'
import type { ConnectionRow } from '../../src/db/tables.ts'
import { afterAbandonedAttempt } from '../../src/token-lifecycle/doubt.ts'
import { type Stage, setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { connect, createReplica, lookUp, OUT, REFRESH, rowOf, until } from '../support/lifecycle.ts'

const SELF = { path: '/api/v4/personal_access_tokens/self' }
const ROTATE = { path: `${SELF.path}/rotate` }
const INFO = { path: '/oauth/token/info' }
const UNAVAILABLE = { status: 503, body: { code: 'gitlab_unavailable' } }
const SENT = new Date('2026-11-02T10:30:00Z')

const hold = ({ simulator }: Stage, match: object, kind: 'hold' | 'hold-after') => {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { ...simulator.faults.add({ match, effect: { kind, until: promise } }), release: resolve }
}

const setColumns = ({ broker }: Stage, id: string, columns: Partial<ConnectionRow>) =>
  broker.db.updateTable('connections').set(columns).where('id', '=', id).execute()

/** What a process leaves behind that dies after it sent a change. */
const left = (kind: 'refresh' | 'rotate', sentAt: Date) => ({
  attempt_id: uuidv7(),
  attempt_kind: kind,
  attempt_sent_at: sentAt,
  attempt_deadline: new Date(sentAt.getTime() + 30_000),
})

t.test('the first cause that tells something outlives a writer that dies', async (t) => {
  const row = { failing_since: null, failure_detail: 'the first', ...left('refresh', SENT) } as ConnectionRow
  for (const [failure_code, kept] of [
    [null, false],
    ['gitlab_unavailable', false],
    ['oauth_app_rejected', false],
    ['refresh_answer_lost', true],
    ['rotation_answer_lost', true],
    ['refresh_token_refused', true],
    ['database_went_back', true],
  ] as const) {
    const {
      failure_code: code,
      failure_detail,
      unanswered_since,
    } = afterAbandonedAttempt({ ...row, failure_code })
    t.equal(code, kept ? failure_code : 'refresh_answer_lost', String(failure_code))
    t.equal(failure_detail === 'the first', kept)
    t.equal(unanswered_since, SENT)
  }
  t.same(afterAbandonedAttempt({ ...row, attempt_sent_at: null }), {}, 'nothing was sent')
})

t.test(
  'a doubt is counted from when the refresh left, however long the question before it took',
  async (t) => {
    const stage = await setStage(t, { broker: { gitlab: { timeoutMs: 120_000 } } })
    const { broker, simulator, clock } = stage
    const id = await connect(stage)
    clock.advance(OUT)
    await setColumns(stage, id, {
      unanswered_since: new Date(clock() - 60_000),
      failing_since: new Date(clock() - 60_000),
      failure_count: 2,
      failure_code: 'refresh_answer_lost',
      failure_detail: 'lost',
    })
    const question = hold(stage, INFO, 'hold')
    simulator.faults.add({ match: REFRESH, effect: { kind: 'cut-before' } })
    const asking = lookUp(stage, id)
    await until(() => question.fired() === 1)
    // Longer than a claim lasts by itself.
    clock.advance(25)
    const prolonged = clock() + 30_000
    await until(async () => (await rowOf(stage, id)).attempt_deadline!.getTime() === prolonged)
    clock.advance(25)
    question.release()
    t.match(await asking, UNAVAILABLE)
    const row = await rowOf(stage, id)
    t.same(row.unanswered_since, new Date(clock()))
    t.equal(row.failure_count, 3)
    t.equal(broker.logLines.filter((line) => /"sending a refresh"/.test(line)).length, 1)
  },
)

t.test('what GitLab said of a token before a rotation of it lost its answer settles nothing', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const rotatable = { scopes: ['read_repository', 'self_rotate'] }
  const verify = (id: string) => broker.post(`/v1/connections/${id}/verify`)

  await t.test('the rotation is over', async (t) => {
    const { id, token } = await connectToken(stage, { organization: 'over', ...rotatable })
    const answered = hold(stage, SELF, 'hold-after')
    const verifying = verify(id)
    await until(() => answered.fired() === 1)
    const acted = Promise.withResolvers<void>()
    const effect = { kind: 'act-later', answer: 502, until: acted.promise } as const
    simulator.faults.add({ match: ROTATE, effect })
    t.match(await broker.post(`/v1/connections/${id}/rotate`), UNAVAILABLE)
    answered.release()
    t.match(await verifying, UNAVAILABLE)
    t.match(await rowOf(stage, id), { unanswered_since: Date, failure_code: 'rotation_answer_lost' })
    acted.resolve()
    await until(() => simulator.world.tokenState(token) === 'revoked')
    t.match(await lookUp(stage, id), { status: 409, body: { status_reason: 'rotation_answer_lost' } })
  })

  await t.test('the process that rotated died', async (t) => {
    const { id } = await connectToken(stage, { organization: 'died', ...rotatable })
    const answered = hold(stage, SELF, 'hold-after')
    const verifying = verify(id)
    await until(() => answered.fired() === 1)
    const attempt = left('rotate', new Date(clock()))
    await setColumns(stage, id, attempt)
    clock.advance(31)
    answered.release()
    t.match(await verifying, UNAVAILABLE)
    t.match(await rowOf(stage, id), attempt)
    t.match(await lookUp(stage, id), UNAVAILABLE)
  })
})

t.test('the same token entered again settles no doubt about it', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const paste = (organization: string, token: string) =>
    broker.post('/v1/connections/personal-access-token', { organization, base_url: simulator.url, token })
  const replace = (id: string, token: string) =>
    broker.request('PUT', `/v1/connections/${id}/token`, { body: { token } })
  const connectDoubted = async (organization: string, doubt: Partial<ConnectionRow>) => {
    const { id, token } = await connectToken(stage, { organization })
    await setColumns(stage, id, doubt)
    return { id, token, organization }
  }
  const lost = { unanswered_since: new Date(clock()), failure_code: 'rotation_answer_lost' }
  const doubted = [
    await connectDoubted('lost', lost),
    await connectDoubted('died', left('rotate', new Date(clock()))),
  ]
  clock.advance(31)
  for (const { id, token, organization } of doubted) {
    for (const answer of [await paste(organization, token), await replace(id, token)]) {
      t.match(answer, UNAVAILABLE)
      t.equal(answer.headers.get('retry-after'), '29', 'until GitLab can no longer act')
    }
    t.match(await lookUp(stage, id), UNAVAILABLE)
    t.match(await rowOf(stage, id), { token_version: 1 })
  }

  const another = simulator.world.createAccessToken({
    kind: 'personal',
    username: 'maria',
    scopes: ['read_api', 'read_repository'],
  })
  t.match(await replace(doubted[0]!.id, another.token), { status: 200, body: { token_version: 2 } })
  clock.advance(29)
  t.match(await paste('died', doubted[1]!.token), { status: 200 })
  t.match(await lookUp(stage, doubted[1]!.id), { status: 200, body: { token_version: 1 } })
})

t.test('who disconnects in doubt hears that GitLab may have issued one more token', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  const replica = await createReplica(t, stage)
  const disconnect = (id: string) => broker.request('DELETE', `/v1/connections/${id}`)
  const said = { status: 200, body: { left_to_revoke: { reason: /new token whose answer was lost/ } } }
  for (const columns of [
    { unanswered_since: new Date(clock()), failure_code: 'refresh_token_refused' },
    { unanswered_since: new Date(clock()), failure_code: null },
    left('refresh', new Date(clock() - 31_000)),
  ]) {
    const id = await connect(stage)
    await setColumns(stage, id, columns)
    t.match(await disconnect(id), said, JSON.stringify(columns))
  }
  const settled = await connect(stage)
  clock.advance(OUT)
  await replica.refresh(settled, { knownVersion: 1, onConflict: 'respect', reason: 'too_short' })
  t.equal((await disconnect(settled)).status, 204)
})
