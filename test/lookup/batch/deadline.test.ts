import t from 'tap'
import { readWait, startDeadline, waitMs } from '../../../src/lookup/batch/deadline.ts'

t.test('reads Prefer: wait= (RFC 7240)', (t) => {
  for (const [header, seconds] of [
    [undefined, undefined],
    ['', undefined],
    ['wait=10', 10],
    ['respond-async, wait = 10', 10],
    ['WAIT="7"; x=1, handling=lenient', 7],
    ['wait=0', 0],
    ['wait=1000000', 60],
    ['wait=-1', undefined],
    ['wait=1.5', undefined],
    ['await=10', undefined],
    [['return=minimal', 'wait=3'], 3],
  ] as const)
    t.equal(readWait(header as string | string[] | undefined), seconds, `${header}`)
  t.same([waitMs(undefined), waitMs(0), waitMs(10)], [30_000, 1_000, 10_000])
  t.end()
})

t.test('a value that comes too late is given up, an error that comes too late is nothing', async (t) => {
  const caller = new AbortController()
  const deadline = startDeadline(10, caller.signal)
  t.equal(await deadline.race(Promise.resolve(1), () => t.fail('it came in time')), 1)
  await t.rejects(
    deadline.race(Promise.reject(new Error('early')), () => t.fail('it came in time')),
    /early/,
  )
  const value = Promise.withResolvers<string>()
  const failure = Promise.withResolvers<string>()
  const late = Promise.withResolvers<string>()
  const both: Promise<unknown>[] = [
    deadline.race(value.promise, late.resolve),
    deadline.race(failure.promise, () => t.fail('it came in time')),
  ]
  for (const one of both) await t.rejects(one, { code: 'deadline_passed' })
  failure.reject(new Error('late'))
  value.resolve('late')
  t.equal(await late.promise, 'late')
  t.ok(deadline.signal.aborted)
})

t.test('the time of a caller who is gone is over', async (t) => {
  const caller = new AbortController()
  const deadline = startDeadline(60_000, caller.signal)
  const late = Promise.withResolvers<number>()
  const race = deadline.race(late.promise, () => undefined)
  t.notOk(deadline.signal.aborted)
  caller.abort()
  await t.rejects(race, { code: 'deadline_passed' })
  t.ok(deadline.signal.aborted)
  const next = startDeadline(60_000, caller.signal)
  t.ok(next.signal.aborted, 'before it began')
  for (const { end } of [deadline, next]) end()
})
