import t from 'tap'
import { BACK, judgeUpgrade, type Step } from './verdict.ts'

const step = (changes: Partial<Step> = {}): Step => ({
  name: 'on',
  isReady: true,
  served: 100,
  failed: 0,
  faults: 0,
  ...changes,
})

t.test('a run passes when every replica became ready and every lookup was served', async (t) => {
  t.same(judgeUpgrade([step(), step({ name: BACK })], false), [])
  const wrong: [name: string, changes: Partial<Step>, verdict: RegExp][] = [
    ['a version that does not start', { isReady: false }, /did not become ready/],
    ['nothing was looked up', { served: 0 }, /no lookup was served/],
    ['a lookup failed', { failed: 1 }, /1 lookups failed/],
    ['an answer 500', { faults: 2 }, /2 unexpected errors/],
  ]
  for (const [name, changes, verdict] of wrong)
    t.match(judgeUpgrade([step(), step(changes)], false), [verdict], name)
})

t.test(
  'the way back fails the run, unless it is known to be closed; lookups have to be served all the same',
  async (t) => {
    const back = step({ name: BACK, isReady: false })
    t.match(judgeUpgrade([back], false), [/not become ready/])
    t.same(judgeUpgrade([back], true), [])
    t.match(judgeUpgrade([{ ...back, failed: 3 }], true), [/3 lookups failed/])
    t.match(
      judgeUpgrade([step({ isReady: false })], true),
      [/not become ready/],
      'the way on is never closed',
    )
  },
)
