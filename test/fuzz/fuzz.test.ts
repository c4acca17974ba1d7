import fc from 'fast-check'
import t from 'tap'
import { readDescription } from './description.ts'
import { requestOf } from './inputs.ts'
import { judge } from './judge.ts'
import { setScene } from './scene.ts'

// npm run test:fuzz says how many, and with which seed.
const REQUESTS = Number(process.env.FUZZ_REQUESTS ?? 800)
const SEED = Number(process.env.FUZZ_SEED ?? 20_261_126)
const AT_ONCE = 4
const PORTION = 20
const LEAST_KINDS_OF_ANSWER = 12

if (REQUESTS > 1_000) t.setTimeout(0)

t.test(
  `${REQUESTS} requests of any kind, seed ${SEED}: every answer is one that openapi.yaml describes`,
  async (t) => {
    const description = await readDescription()
    const { broker, send } = await setScene(t)
    const arbitrary = requestOf(description.operations)
    // A few at a time: making them takes the thread on which the broker answers.
    const makeRequests = function* () {
      for (let made = 0; made < REQUESTS; made += PORTION)
        yield* fc.sample(arbitrary, { numRuns: Math.min(PORTION, REQUESTS - made), seed: SEED + made })
    }
    const faults = new Set<string>()
    const seen = new Map<string, Set<number>>()
    const secrets: string[] = []
    const queue = makeRequests()
    const work = async (): Promise<void> => {
      for (const request of queue) {
        const answer = await send(request)
        const { id } = request.operation
        seen.set(id, (seen.get(id) ?? new Set()).add(answer.status))
        secrets.push(answer.secret)
        const fault = judge(description, request, answer)
        if (fault) faults.add(`${id}: ${fault}`)
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, work))

    t.same([...faults].sort(), [])
    t.equal(seen.size, description.operations.length, 'every operation was called')
    const kinds = new Set([...seen.values()].flatMap((statuses) => [...statuses]))
    t.ok(
      kinds.size >= LEAST_KINDS_OF_ANSWER,
      `answers of ${kinds.size} kinds: ${[...kinds].sort().join(' ')}`,
    )
    const log = broker.logLines.join('')
    t.notMatch(log, /glpat-FAKE-planted/, 'and the log has none of the secrets')
    t.same(
      broker.logLines.filter((line) => line.includes('"level":"error"')),
      [],
      'nor an unexpected error',
    )
    t.equal(secrets.length, REQUESTS)
  },
)
