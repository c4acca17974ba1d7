import { mock } from 'node:test'
import t from 'tap'
import { CALLS_AT_ONCE, createGuard } from '../../src/gitlab/guard.ts'
import type { TransportFailure } from '../../src/gitlab/transport-failure.ts'
import { createWeather } from '../../src/gitlab/weather.ts'
import { createFakeClock } from '../support/clock.ts'

/** The breaker goes by the real clock, and varies this at random. */
const OPEN_MS = 200
/** By the real clock too. Long enough to ask for all turns at once. */
const LONGEST_WAIT_MS = 400

type Answer = { kind: string; status?: number; retryAfterSeconds?: number } | TransportFailure

const OK: Answer = { kind: 'answer', status: 200 }
const BROKEN: Answer = { kind: 'answer', status: 502 }
const UNREACHABLE: Answer = { kind: 'failure', reason: 'unreachable', mayHaveActed: false }
const OVERLOADED = { kind: 'failure', reason: 'overloaded', mayHaveActed: false }

/** Stands in for the calls to a GitLab: gives the answer that was set last, and counts the calls. */
const createGitLab = () => {
  let answer: Answer = OK
  let calls = 0
  return {
    calls: () => calls,
    says(next: Answer) {
      answer = next
    },
    call: async (): Promise<Answer> => {
      calls += 1
      return answer
    },
  }
}

/** Calls until the answer is as wished. */
const until = async (ask: () => Promise<Answer>, isIt: (answer: Answer) => boolean): Promise<void> => {
  const limit = performance.now() + 5_000
  while (!isIt(await ask())) {
    if (performance.now() > limit) throw new Error('It never came')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

t.test('after ten failures in a row nothing is sent any more, until a trial call gets through', async (t) => {
  const gitlab = createGitLab()
  const guard = createGuard({ clock: createFakeClock(), circuitOpenMs: OPEN_MS })
  const ask = () => guard(gitlab.call)

  gitlab.says(BROKEN)
  for (let call = 0; call < 9; call += 1) t.same(await ask(), BROKEN)
  gitlab.says(OK)
  t.same(await ask(), OK, 'a good answer begins the count anew')
  gitlab.says(UNREACHABLE)
  for (let call = 0; call < 10; call += 1) await ask()
  const sent = gitlab.calls()
  const turnedAway = await Promise.all(Array.from({ length: 100 }, ask))
  for (const answer of turnedAway) t.match(answer, { ...OVERLOADED, retryAfterSeconds: Number })
  t.equal(gitlab.calls(), sent, 'none of the hundred was sent')

  await until(ask, (answer) => answer === UNREACHABLE)
  t.match(await ask(), OVERLOADED, 'open again')
  t.equal(gitlab.calls(), sent + 1, 'after one trial call, which failed')
  gitlab.says(OK)
  await until(ask, (answer) => answer === OK)
  t.same(new Set(await Promise.all(Array.from({ length: 20 }, ask))), new Set([OK]), 'closed')
})

t.test('an instance that was changed begins with a closed circuit, and says so', async (t) => {
  const clock = createFakeClock()
  const weather = createWeather({ clock })
  const before = createGuard({ clock, weather })
  for (let call = 0; call < 10; call += 1) await before(async () => UNREACHABLE)
  t.equal(weather.look().circuit, 'open')
  const after = createGuard({ clock, weather })
  t.equal(weather.look().circuit, 'closed')
  t.equal(await after(async () => OK), OK)
})

t.test('a refusal is an answer, and opens no circuit', async (t) => {
  const guard = createGuard({ clock: createFakeClock(), circuitOpenMs: OPEN_MS })
  for (const answer of [
    { kind: 'answer', status: 401 },
    { kind: 'refused' },
    { kind: 'failure', reason: 'address_not_allowed', mayHaveActed: false } as const,
  ]) {
    for (let call = 0; call < 30; call += 1) t.equal(await guard(async () => answer), answer)
  }
})

t.test('the pause that GitLab asks for is kept by all calls to it', async (t) => {
  for (const limited of [{ kind: 'answer', status: 429 }, { kind: 'rate_limited' }]) {
    const clock = createFakeClock()
    const gitlab = createGitLab()
    const guard = createGuard({ clock, circuitOpenMs: OPEN_MS })
    gitlab.says({ ...limited, retryAfterSeconds: 40 })
    await guard(gitlab.call)
    gitlab.says(OK)
    t.same(await guard(gitlab.call), {
      kind: 'failure',
      reason: 'rate_limited',
      mayHaveActed: false,
      retryAfterSeconds: 40,
    })
    clock.advance(39.5)
    t.match(await guard(gitlab.call), { reason: 'rate_limited', retryAfterSeconds: 1 })
    t.equal(gitlab.calls(), 1)
    clock.advance(0.5)
    t.equal(await guard(gitlab.call), OK)
  }
})

t.test('a pause without a time is ten seconds, and none is longer than two minutes', async (t) => {
  for (const [named, kept] of [
    [undefined, 10],
    [0, 0],
    [999_999_999, 120],
  ] as const) {
    const clock = createFakeClock()
    const guard = createGuard({ clock })
    await guard(async () => ({
      kind: 'answer',
      status: 429,
      ...(named === undefined ? {} : { retryAfterSeconds: named }),
    }))
    if (kept > 0) t.match(await guard(async () => OK), { reason: 'rate_limited', retryAfterSeconds: kept })
    clock.advance(kept)
    t.equal(await guard(async () => OK), OK)
  }
})

t.test('what a pause turns away closes no circuit', async (t) => {
  mock.timers.enable({ apis: ['Date'] })
  t.teardown(() => mock.timers.reset())
  const clock = createFakeClock()
  const gitlab = createGitLab()
  const guard = createGuard({ clock, circuitOpenMs: 20 })
  const ask = () => guard(gitlab.call)
  const late = Promise.withResolvers<Answer>()
  const limited = guard(() => late.promise)
  gitlab.says(BROKEN)
  for (let call = 0; call < 10; call += 1) await ask()
  late.resolve({ kind: 'answer', status: 429, retryAfterSeconds: 60 })
  await limited
  mock.timers.tick(300)
  t.match(await ask(), { reason: 'rate_limited' }, 'the circuit may be tried by now, but the pause holds')
  clock.advance(60)
  const answers = [await ask(), await ask()]
  t.same(answers[0], BROKEN, 'the trial call')
  t.match(answers[1], OVERLOADED, 'whose failure opens the circuit again')
})

t.test('a limited number is under way at once; who had to wait too long is never sent', async (t) => {
  const guard = createGuard({ clock: createFakeClock(), longestWaitMs: LONGEST_WAIT_MS })
  const gate = Promise.withResolvers<Answer>()
  let sent = 0
  const slow = () => {
    sent += 1
    return gate.promise
  }
  const first = Array.from({ length: CALLS_AT_ONCE }, () => guard(slow))
  const impatient = Array.from({ length: 20 }, () => guard(slow))
  t.equal(sent, CALLS_AT_ONCE)
  const begun = performance.now()
  while (performance.now() <= begun + LONGEST_WAIT_MS) await new Promise((resolve) => setTimeout(resolve, 5))
  const patient = guard(slow)
  gate.resolve(OK)
  t.equal(await patient, OK, 'who came later was in time')
  t.same(new Set(await Promise.all(first)), new Set([OK]))
  for (const answer of await Promise.all(impatient)) t.match(answer, OVERLOADED)
  t.equal(sent, CALLS_AT_ONCE + 1)
})

t.test('when a thousand wait already, the next is turned away at once', async (t) => {
  const guard = createGuard({ clock: createFakeClock() })
  const gate = Promise.withResolvers<Answer>()
  const waiting = Array.from({ length: CALLS_AT_ONCE + 1_000 }, () => guard(() => gate.promise))
  t.match(await guard(async () => OK), OVERLOADED)
  gate.resolve(OK)
  t.same(new Set(await Promise.all(waiting)), new Set([OK]))
})

t.test('an error of our own passes through', async (t) => {
  const guard = createGuard({ clock: createFakeClock() })
  await t.rejects(
    guard(() => Promise.reject(new TypeError('ours'))),
    { message: 'ours' },
  )
})
