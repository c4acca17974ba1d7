import fc from 'fast-check'
import t from 'tap'
import type { FaultEffect } from '../../simulator/faults.ts'
import { setStage, startTestBroker } from '../support/broker.ts'
import { connect, lookUp, REFRESH, rowOf } from '../support/lifecycle.ts'

type Lookup = {
  replica: number
  minTtl: number | undefined
  onConflict: 'respect' | 'preempt'
}
type Step =
  /** Scanners at once, over both replicas; before that time goes by, and a fault lies in wait for a refresh. */
  | { kind: 'crowd'; lookups: Lookup[]; wait: number; effect: FaultEffect | null }
  | { kind: 'release'; which: number }
  | { kind: 'mend'; replica: number }
  | { kind: 'abandon'; sent: boolean }
  | { kind: 'wait'; seconds: number }

type Held = { leaseId: string; token: string; until: number }

const someLookup: fc.Arbitrary<Lookup> = fc.record({
  replica: fc.nat({ max: 1 }),
  minTtl: fc.constantFrom<(number | undefined)[]>(undefined, undefined, undefined, 60, 900, 6_000),
  onConflict: fc.oneof(
    { weight: 12, arbitrary: fc.constant('respect' as const) },
    { weight: 1, arbitrary: fc.constant('preempt' as const) },
  ),
})
const someEffect = fc.constantFrom<FaultEffect>(
  { kind: 'cut-before' },
  { kind: 'cut-after' },
  { kind: 'status', status: 500 },
  { kind: 'status', status: 503 },
  { kind: 'rate-limit', retryAfterSeconds: 30 },
  { kind: 'invalid-grant' },
)
const someStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('crowd' as const),
      lookups: fc.array(someLookup, { minLength: 1, maxLength: 6 }),
      wait: fc.constantFrom(0, 0, 3_700, 3_700, 7_300),
      effect: fc.option(someEffect, { freq: 2 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('release' as const), which: fc.nat({ max: 5 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('mend' as const), replica: fc.nat({ max: 1 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('abandon' as const), sent: fc.boolean() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('wait' as const),
      seconds: fc.constantFrom(1, 20, 61, 301, 1_000),
    }),
  },
)

/** What a scanner may be told instead of a token. */
const REFUSALS = ['token_in_use', 'gitlab_unavailable', 'needs_reauthorization']

t.test('however two replicas, scanners, faults and time interleave', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const replicas = [broker, await startTestBroker(t, { database: broker.database, clock })]
  const { world, faults } = simulator
  const replays = () => world.events.filter(({ kind }) => kind === 'replay_of_spent_refresh_token').length

  const seen = { steps: 0, leased: 0, refused: 0, refreshed: 0, lost: 0 }

  const run = async (steps: Step[]): Promise<void> => {
    faults.clear()
    // The pause of a run before, and the claims that it left behind, end.
    clock.advance(61)
    const id = await connect(stage)
    const first = world.events.length
    const replaysBefore = replays()
    let held: Held[] = []
    let version = 1
    let refusals = 0
    const armed: { effect: FaultEffect; fired: () => number }[] = []
    const answerLost = () => armed.some(({ effect, fired }) => effect.kind === 'cut-after' && fired() > 0)

    const arm = (effect: FaultEffect): void => {
      // A second refusal minutes after the first is GitLab's word that the grant is over.
      if (effect.kind === 'invalid-grant' && refusals++ > 0) return
      armed.push({ effect, ...faults.add({ match: REFRESH, effect }) })
    }

    const ask = async (lookup: Lookup): Promise<void> => {
      const { replica, minTtl, onConflict } = lookup
      const answer = await lookUp({ broker: replicas[replica]! }, id, {
        on_conflict: onConflict,
        ...(minTtl === undefined ? {} : { min_ttl: minTtl }),
      })
      const { status, body } = answer
      if (status === 200) {
        seen.leased += 1
        // GitLab counts in whole seconds from when it issued.
        if (body.expires_in < (minTtl === undefined ? 5 : minTtl - 30))
          throw new Error(`lives only ${body.expires_in} s`)
        held.push({
          leaseId: body.lease_id,
          token: body.token,
          until: clock() + Math.min(minTtl ?? 300, body.expires_in) * 1000,
        })
      } else {
        seen.refused += 1
        if (!REFUSALS.includes(body.code)) throw new Error(`unexpected: ${answer.text}`)
      }
    }

    const take = async (step: Step): Promise<void> => {
      switch (step.kind) {
        case 'crowd': {
          clock.advance(step.wait)
          if (step.effect) arm(step.effect)
          await Promise.all(step.lookups.map(ask))
          // Whoever preempts may break all of them, those of the same crowd too.
          if (step.lookups.some(({ onConflict }) => onConflict === 'preempt')) held = []
          return
        }
        case 'release': {
          const [lease] = held.splice(step.which % Math.max(1, held.length), 1)
          if (lease) await broker.request('DELETE', `/v1/leases/${lease.leaseId}`)
          return
        }
        case 'mend':
          return replicas[step.replica]!.jobs.mendConnections()
        case 'abandon': {
          const row = await rowOf(stage, id)
          // A process claims only what nobody holds a lease on.
          if (row.attempt_id !== null || row.status !== 'active' || held.some(({ until }) => until > clock()))
            return
          await broker.db
            .updateTable('connections')
            .set({
              attempt_id: id,
              attempt_kind: 'refresh',
              attempt_deadline: new Date(clock() + 30_000),
              attempt_sent_at: step.sent ? new Date(clock()) : null,
            })
            .where('id', '=', id)
            .execute()
          clock.advance(31)
          return
        }
        case 'wait':
          clock.advance(step.seconds)
      }
    }

    const check = async (): Promise<void> => {
      held = held.filter(({ until }) => until > clock())
      for (const { token } of held) {
        const state = world.tokenState(token)
        if (state !== 'active') throw new Error(`a leased token is ${state}`)
      }
      if (replays() > replaysBefore && !answerLost())
        throw new Error('a spent refresh token was presented, and no answer had been lost')
      const row = await rowOf(stage, id)
      if (row.token_version < version) throw new Error('the version went back')
      version = row.token_version
      if (row.status !== 'active' && !answerLost()) throw new Error(`lost: ${row.status_reason}`)
    }

    for (const step of steps) {
      seen.steps += 1
      await take(step)
      await check()
    }

    faults.clear()
    held = []
    const lost = answerLost()
    for (let minutes = 0; minutes < 8; minutes += 1) {
      clock.advance(1_000)
      await broker.jobs.mendConnections()
    }
    const answer = await lookUp(stage, id)
    seen.refreshed += world.events.slice(first).filter(({ kind }) => kind === 'refreshed').length
    if (lost) {
      seen.lost += 1
      const { status, status_reason } = await rowOf(stage, id)
      const told = ['refresh_answer_lost', 'refresh_token_refused'].includes(status_reason ?? '')
      if (status !== 'needs_reauthorization' || !told)
        throw new Error(`${status} because of ${status_reason}`)
    } else if (answer.status !== 200 || world.tokenState(answer.body.token) !== 'active') {
      throw new Error(`not recovered: ${answer.text}`)
    }
  }

  await fc.assert(fc.asyncProperty(fc.array(someStep, { minLength: 3, maxLength: 12 }), run), {
    numRuns: 40,
    interruptAfterTimeLimit: 45_000,
    endOnFailure: true,
  })
  t.ok(seen.leased > 50 && seen.refused > 5 && seen.refreshed > 10, JSON.stringify(seen))
})
