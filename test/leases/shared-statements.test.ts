import t from 'tap'
import { v7 as uuidv7 } from 'uuid'
import type { RunPrepared } from '../../src/db/database.ts'
import { createLeasesById } from '../../src/leases/shared-statements.ts'

/** Statements that are answered when the test says so. Each finds nothing: it matters when they are sent. */
const listen = (slowMs = 60_000) => {
  const sent: { lookups: number; answer(): void; fail(error: Error): void }[] = []
  const runPrepared: RunPrepared = (_statement, values) => {
    const { promise, resolve, reject } = Promise.withResolvers<never[]>()
    const leaseIds = values[3] as string
    sent.push({ lookups: leaseIds.split(',').length, answer: () => resolve([]), fail: reject })
    return promise
  }
  const { lease } = createLeasesById({ runPrepared, clock: () => 0, slowMs })
  const ask = (lookups: number) =>
    Array.from({ length: lookups }, () =>
      lease({
        leaseId: uuidv7(),
        connectionId: uuidv7(),
        accessKeyId: uuidv7(),
        minRemaining: 300,
        leaseSeconds: 300,
        acceptPastHalfLife: false,
        subject: null,
        purpose: null,
      }),
    )
  return { sent, ask, sizes: () => sent.map(({ lookups }) => lookups) }
}

/** What is scheduled for this turn of the event loop, and what follows from it, is done. */
const turn = async () => {
  for (let round = 0; round < 3; round += 1) await new Promise((resolve) => setImmediate(resolve))
}

t.test('lookups of one turn share a statement', async (t) => {
  const { sent, ask, sizes } = listen()
  const answers = ask(3)
  await turn()
  t.same(sizes(), [3])
  sent[0]!.answer()
  t.same(await Promise.all(answers), [undefined, undefined, undefined])
})

t.test('the next is sent beside one in flight when it is as full, and no third', async (t) => {
  const { sent, ask, sizes } = listen()
  const all = ask(4)
  await turn()
  all.push(...ask(3))
  await turn()
  t.same(sizes(), [4], 'not as full')
  all.push(...ask(1))
  await turn()
  t.same(sizes(), [4, 4])
  all.push(...ask(9))
  await turn()
  t.same(sizes(), [4, 4])
  sent[0]!.answer()
  await turn()
  t.same(sizes(), [4, 4, 9])
  sent[1]!.answer()
  sent[2]!.answer()
  await Promise.all(all)
})

t.test('beside a full one nothing is sent: the next fills up', async (t) => {
  const { sent, ask, sizes } = listen()
  const all = ask(32)
  await turn()
  all.push(...ask(250))
  await turn()
  t.same(sizes(), [32])
  sent[0]!.answer()
  await turn()
  t.same(sizes(), [32, 200], 'up to a limit')
  sent[1]!.answer()
  await turn()
  t.same(sizes(), [32, 200, 50])
  sent[2]!.answer()
  await Promise.all(all)
})

t.test('one that takes long holds up no other, and four are the most', async (t) => {
  const { sent, ask, sizes } = listen(5)
  const all: Promise<unknown>[] = []
  for (const expected of [1, 2, 3, 4]) {
    all.push(...ask(1))
    while (sent.length < expected) await turn()
  }
  all.push(...ask(7))
  const started = performance.now()
  while (performance.now() - started < 100) await turn()
  t.same(sizes(), [1, 1, 1, 1])
  sent[2]!.answer()
  await turn()
  t.same(sizes(), [1, 1, 1, 1, 7])
  for (const { answer } of sent) answer()
  await Promise.all(all)
})

t.test('a statement that fails fails its own lookups', async (t) => {
  const { sent, ask } = listen()
  const failing = Promise.allSettled(ask(2))
  await turn()
  const others = ask(2)
  await turn()
  sent[0]!.fail(new Error('away'))
  t.match(await failing, [{ reason: { message: 'away' } }, { reason: { message: 'away' } }])
  sent[1]!.answer()
  t.same(await Promise.all(others), [undefined, undefined])
})
