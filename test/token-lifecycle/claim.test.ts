import t from 'tap'
import { v7 as uuidv7 } from 'uuid'
import { type Claim, claimForPerson, claimIf, createSharedClaims } from '../../src/token-lifecycle/claim.ts'
import { markAttemptsSent } from '../../src/token-lifecycle/claims/queries.ts'
import { afterAbandonedAttempt } from '../../src/token-lifecycle/doubt.ts'
import {
  endAttempt,
  type IssuedToken,
  releaseClaim,
  saveDoubt,
  saveFailure,
} from '../../src/token-lifecycle/queries.ts'
import { afterFailure, CLAIM_SECONDS } from '../../src/token-lifecycle/refresh-decision.ts'
import { saveIssuedTokens } from '../../src/token-lifecycle/saves/queries.ts'
import { createSharedSaves } from '../../src/token-lifecycle/saves/shared-saves.ts'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { connect, lookUp, NO_TROUBLE, rowOf, untilItWaits } from '../support/lifecycle.ts'

t.test('a claim', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  const { db } = broker
  const deps = { db, clock }
  const now = () => new Date(clock())
  const claim = async (id: string): Promise<Claim> => {
    const result = await claimIf(deps, id, 'refresh', () => 'claim')
    if (!result || !('claim' in result)) throw new Error('not claimed')
    return result.claim
  }

  t.test('is written with its deadline, and nothing else is changed', async (t) => {
    const id = await connect(stage)
    const before = await rowOf(stage, id)
    const { attemptId, row } = await claim(id)
    t.match(row, before)
    t.same(await rowOf(stage, id), {
      ...before,
      attempt_id: attemptId,
      attempt_kind: 'refresh',
      attempt_deadline: new Date(clock() + CLAIM_SECONDS * 1000),
      attempt_sent_at: null,
    })
  })

  t.test('goes to one of twenty that want it at once', async (t) => {
    const id = await connect(stage)
    const results = await Promise.all(
      Array.from({ length: 20 }, () =>
        claimIf(deps, id, 'refresh', ({ row }) => (row.attempt_id === null ? 'claim' : 'too late')),
      ),
    )
    t.equal(results.filter((result) => result && 'claim' in result).length, 1)
  })

  t.test('shares a transaction with others, and each is decided for itself', async (t) => {
    const ids = await Promise.all(Array.from({ length: 5 }, () => connect(stage)))
    const claimShared = createSharedClaims<string>(deps)
    const ask = (connectionId: string, answer: 'claim' | 'no') =>
      claimShared({
        connectionId,
        kind: 'refresh',
        decide: ({ row }) => (row.attempt_id === null ? answer : 'claimed'),
      })
    const [first, again, second, third, gone] = await Promise.all([
      ask(ids[0]!, 'claim'),
      ask(ids[0]!, 'claim'),
      ask(ids[1]!, 'no'),
      ask(ids[2]!, 'claim'),
      ask(uuidv7(), 'claim'),
    ])
    t.match(first, { claim: { row: { id: ids[0] } } })
    t.same(again, { decision: 'claimed' }, 'one of two for the same connection')
    t.same(second, { decision: 'no' })
    t.match(third, { claim: { row: { id: ids[2] } } })
    t.equal(gone, undefined)
    t.match(await rowOf(stage, ids[1]!), NO_TROUBLE)
  })

  t.test('of a locked row waits for the lock, and holds up no other', async (t) => {
    const [locked, free] = [await connect(stage), await connect(stage)]
    const claimShared = createSharedClaims<string>(deps)
    const ask = (connectionId: string) =>
      claimShared({ connectionId, kind: 'refresh', decide: () => 'claim' as const })
    const { promise: unlocked, resolve: unlock } = Promise.withResolvers<void>()
    const { promise: isLocked, resolve: tellLocked } = Promise.withResolvers<void>()
    const holding = db.transaction().execute(async (transaction) => {
      await transaction.selectFrom('connections').select('id').where('id', '=', locked).forShare().execute()
      tellLocked()
      await unlocked
    })
    await isLocked
    const [waiting, claimed] = [ask(locked), ask(free)]
    t.match(await claimed, { claim: { row: { id: free } } })
    unlock()
    await holding
    t.match(await waiting, { claim: { row: { id: locked } } })
  })

  t.test('is not given for what is not there', async (t) => {
    t.equal(await claimIf(deps, uuidv7(), 'refresh', () => 'claim'), undefined)
    await t.rejects(claimForPerson(deps, uuidv7(), 'rotate', { drained: true }), { code: 'not_found' })
  })

  t.test('is decided with the leases on the current version, and no other', async (t) => {
    const id = await connect(stage)
    await lookUp(stage, id, { min_ttl: 900 })
    const end = new Date(clock() + 900_000)
    const leasedUntil = async () => {
      const result = await claimIf(deps, id, 'refresh', (state) => ({ leasedUntil: state.leasedUntil }))
      return result && 'decision' in result ? result.decision.leasedUntil : undefined
    }
    t.same(await leasedUntil(), end)
    await db.updateTable('leases').set({ token_version: 99 }).where('connection_id', '=', id).execute()
    t.equal(await leasedUntil(), null)
  })

  t.test('fences: who lost it writes nothing any more', async (t) => {
    const id = await connect(stage)
    const loser = await claim(id)
    clock.advance(CLAIM_SECONDS)
    const { attemptId } = await claim(id)
    const failure = { code: 'refresh_token_refused', detail: 'refused', mayHaveActed: false } as const
    const ended = {
      ...afterFailure(loser.row, failure, { tokenAlive: false, sentAt: now(), wentBack: false, now: now() }),
      status: 'needs_reauthorization' as const,
    }
    const before = await rowOf(stage, id)
    const isMarked = async (attemptId: string) =>
      (await markAttemptsSent(db, [{ connectionId: id, attemptId, sentAt: now() }], undefined))?.[0]
    t.equal(await isMarked(loser.attemptId), false)
    t.equal(await saveFailure(db, id, loser.attemptId, ended, now()), false)
    t.equal(
      await saveDoubt(db, id, loser.attemptId, { since: now(), code: 'rotation_answer_lost', detail: '' }),
      false,
    )
    t.equal(await endAttempt(db, id, loser.attemptId, { status: 'revoked', updated_at: now() }), false)
    t.same(await rowOf(stage, id), before)
    t.equal(await releaseClaim(db, id, loser.attemptId), false)
    t.same(await rowOf(stage, id), before)
    t.equal(await isMarked(attemptId), true)
    t.equal(await releaseClaim(db, id, attemptId), true)
    t.match(await rowOf(stage, id), NO_TROUBLE)
  })

  t.test(
    'is not what a new token is saved under: the only successor is saved by whoever has it',
    async (t) => {
      const id = await connect(stage)
      await claim(id)
      const { token_version, access_token, refresh_token, scopes, grant_id } = await rowOf(stage, id)
      const grant = grant_id!
      const next = {
        token_version: token_version + 1,
        access_token,
        refresh_token,
        scopes,
        token_issued_at: now(),
        token_expires_at: null,
      }
      const save = async (grantId: string, token: IssuedToken) =>
        (await saveIssuedTokens(db, [{ connectionId: id, grantId, token, tokenHash: undefined }]))[0]
      t.equal(await save(grant, next), true)
      t.match(await rowOf(stage, id), { token_version: token_version + 1, ...NO_TROUBLE })
      t.equal(await save(grant, next), false, 'once')
      const later = { ...next, token_version: token_version + 3 }
      t.equal(await save(id, later), false, 'not that of an earlier grant')
      t.equal(await save(grant, later), true, 'a row that is behind gets its successor')
      t.equal(await save(grant, { ...next, token_version: 3 }), false, 'none goes back')
      t.equal(await save(uuidv7(), next), true, 'a later grant replaces an earlier one')
    },
  )

  t.test('a token that the database does not take keeps no other from being saved', async (t) => {
    const save = createSharedSaves({ db, runPrepared: broker.database.runPrepared })
    const tokens = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const id = await connect(stage)
        const { token_version, access_token, refresh_token, scopes, grant_id } = await rowOf(stage, id)
        const token = { token_version: token_version + 1, access_token, refresh_token, scopes }
        return {
          connectionId: id,
          grantId: grant_id!,
          token: { ...token, token_issued_at: now(), token_expires_at: null },
          tokenHash: undefined,
        }
      }),
    )
    tokens[1]!.token.access_token = 'a text that PostgreSQL does not take: \u0000'
    const results = await Promise.allSettled(tokens.map(save))
    t.same(
      results.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
    )
    t.match(await rowOf(stage, tokens[3]!.connectionId), { token_version: tokens[3]!.token.token_version })
    t.match(await rowOf(stage, tokens[1]!.connectionId), {
      token_version: tokens[1]!.token.token_version - 1,
    })
    const [once, twice] = await Promise.all([save(tokens[0]!), save(tokens[0]!)])
    t.same([once, twice], [false, false])
  })

  t.test('for a person waits for the one before, and for the scanners where it has to', async (t) => {
    const { id } = await connectToken(stage)
    const first = await claim(id)
    const waiting = claimForPerson(deps, id, 'rotate', { drained: true })
    await untilItWaits(stage)
    t.match(await rowOf(stage, id), { attempt_id: first.attemptId })
    await releaseClaim(db, id, first.attemptId)
    const { attemptId } = await waiting
    t.match(await rowOf(stage, id), { attempt_id: attemptId, attempt_kind: 'rotate' })
    await releaseClaim(db, id, attemptId)

    await lookUp(stage, id, { min_ttl: 600 })
    await t.rejects(claimForPerson(deps, id, 'rotate', { drained: true }), {
      code: 'token_in_use',
      extras: {
        retryAfterSeconds: 600,
        members: { leased_until: new Date(clock() + 600_000).toISOString() },
      },
    })
    t.ok(
      await claimForPerson(deps, id, 'disconnect', { drained: false }),
      'who disconnects does not wait for them',
    )
  })

  t.test('that its writer left behind tells what may have happened', async (t) => {
    const row = await rowOf(stage, await connect(stage))
    const sentAt = now()
    const abandoned = {
      ...row,
      attempt_id: uuidv7(),
      attempt_kind: 'refresh' as const,
      attempt_sent_at: sentAt,
    }
    t.same(afterAbandonedAttempt(row), {}, 'nobody was at it')
    t.same(afterAbandonedAttempt({ ...abandoned, attempt_sent_at: null }), {}, 'nothing was sent')
    t.match(afterAbandonedAttempt(abandoned), {
      unanswered_since: sentAt,
      failing_since: sentAt,
      failure_code: 'refresh_answer_lost',
      failure_detail: `A refresh was sent at ${sentAt.toISOString()}, and the process ended before the answer was saved.`,
    })
    t.match(afterAbandonedAttempt({ ...abandoned, attempt_kind: 'rotate' }), {
      failure_code: 'rotation_answer_lost',
    })
    const earlier = new Date(clock() - 60_000)
    const told = {
      unanswered_since: earlier,
      failing_since: earlier,
      failure_code: 'refresh_token_refused',
      failure_detail: 'refused',
    }
    t.same(
      afterAbandonedAttempt({ ...abandoned, ...told }),
      { ...told, unanswered_since: sentAt },
      'the first cause stays; GitLab may act on the latest request',
    )
    t.match(
      afterAbandonedAttempt({ ...abandoned, failure_code: 'gitlab_unavailable', failure_detail: 'down' }),
      { failure_code: 'refresh_answer_lost' },
      'an outage was none',
    )
  })
})
