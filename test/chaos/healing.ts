import { setTimeout as sleep } from 'node:timers/promises'
import { SUCCESSOR_SECONDS } from '../../src/token-lifecycle/doubt.ts'
import { SLICE_SECONDS } from '../../src/weather/queries.ts'
import { REFUSAL_BUDGET, reserveOf, WINDOW_SECONDS } from '../../src/weather/refusal-budget.ts'
import type { Generations } from './generations.ts'
import { ask } from './http.ts'
import type { Scene, Subject } from './scene.ts'
import { readSpent, readStates } from './states.ts'

/** A claim of a dead process (30 s), then the longest pause between two tries (60 s). */
const HEALING_LIMIT_MS = 95_000
/** What was refused before waits for room in the budget of refusals: no longer than a refusal counts. */
const MOST_WAITED_FOR_ROOM_MS = (WINDOW_SECONDS + SLICE_SECONDS) * 1000
/** Where reuse is punished, a doubt lasts for longer. */
const healingLimitMs = ({ engine }: Scene): number =>
  HEALING_LIMIT_MS + (engine === 'fosite' ? SUCCESSOR_SECONDS * 1000 : 0)
const ASKED_AT_ONCE = 12
const PAUSE_MS = 1_000
/** Within that a kept token is saved, now that the database is there. */
const SPOOL_PATIENCE_MS = 12_000

export type Healing = { seconds: number /** `<connection id> <last answer>`. */; stillAiling: string[] }

/**
 * Asks every connection for a token until it works at GitLab. Those whose successor died with a lost answer cannot
 * be well again, and are among `stillAiling`.
 */
export const heal = async (scene: Scene, generations: Generations): Promise<Healing> => {
  const { brokers, simulator, scannerKey, subjects } = scene
  const start = performance.now()
  let lastHealedMs = 0

  const tryOnce = async ({ id }: Subject, round: number): Promise<string> => {
    const broker = brokers[round % brokers.length]!
    const answer = await ask(broker.url, 'GET', `/v1/connections/${id}/credential?min_ttl=1`, {
      key: scannerKey,
    })
    if (answer?.status !== 200) return `${answer?.status ?? 'no answer'} ${answer?.body?.code ?? ''}`
    const { token, lease_id } = answer.body
    const used = await ask(simulator.url, 'GET', '/api/v4/user', {
      headers: { authorization: `Bearer ${token}` },
    })
    await ask(broker.url, 'DELETE', `/v1/leases/${lease_id}`, { key: scannerKey })
    return used?.status === 200 ? '' : `a token that GitLab answers with ${used?.status}`
  }

  let ailing = [...subjects]
  let lastWords = new Map<string, string>()
  let limit = start + healingLimitMs(scene)
  for (let round = 0; ailing.length > 0 && performance.now() < limit; round += 1) {
    if (round > 0) await sleep(PAUSE_MS)
    if (round > 0 && (await doAllWaitForRoom(scene, ailing)))
      limit = Math.min(performance.now(), start + MOST_WAITED_FOR_ROOM_MS) + healingLimitMs(scene)
    const words = new Map<string, string>()
    const next: Subject[] = []
    const queue = ailing.values()
    const lane = async () => {
      for (const subject of queue) {
        const problem = await tryOnce(subject, round)
        if (problem === '') lastHealedMs = performance.now() - start
        else {
          next.push(subject)
          words.set(subject.id, problem)
        }
      }
    }
    await Promise.all(Array.from({ length: ASKED_AT_ONCE }, lane))
    ailing = next
    lastWords = words
    const waited = performance.now() - start > SPOOL_PATIENCE_MS
    if (waited && (await areAllLost(scene, generations, ailing))) break
  }
  const states = new Map((await readStates(scene)).map((state) => [state.id, state]))
  return {
    seconds: Math.round(lastHealedMs / 100) / 10,
    stillAiling: ailing.map(({ id }) => `${id} ${lastWords.get(id)} ${JSON.stringify(states.get(id))}`),
  }
}

/** Whether nothing but the budget of refusals is in the way. */
const doAllWaitForRoom = async (scene: Scene, ailing: Subject[]): Promise<boolean> => {
  const spent = await readSpent(scene)
  const states = new Map((await readStates(scene)).map((state) => [state.id, state]))
  return ailing.every(({ id }) => {
    const { refusedSince = null, failures = 0 } = states.get(id) ?? {}
    const reserve = reserveOf({ refused_since: refusedSince, failure_count: failures }, Date.now())
    return refusedSince !== null && spent >= REFUSAL_BUDGET - reserve
  })
}

/** GitLab is ahead, and refuses the refresh token that the database has: no waiting mends that. */
const areAllLost = async (scene: Scene, generations: Generations, ailing: Subject[]): Promise<boolean> => {
  const states = new Map((await readStates(scene)).map((state) => [state.id, state]))
  return ailing.every(({ id, grantId }) => {
    const state = states.get(id)
    if (!state || state.tokenVersion >= generations.latest(grantId).generation) return false
    return state.status !== 'active' || (!state.claimed && state.refusedSince !== null)
  })
}

/** A refusal that lasts as long is believed (300 s, refresh-decision.ts), and the next try is up to 60 s away. */
const MARKING_LIMIT_MS = 420_000
const ASKED_AGAIN_MS = 5_000

/**
 * Goes on asking for the lost ones until each is marked.
 * @returns what must not be: a token handed out for one of them, or one that is never marked.
 */
export const awaitMarks = async (scene: Scene, lost: string[]): Promise<string[]> => {
  const { brokers, scannerKey } = scene
  const violations: string[] = []
  const start = performance.now()
  let unmarked = lost
  while (unmarked.length > 0 && performance.now() - start < MARKING_LIMIT_MS) {
    await sleep(ASKED_AGAIN_MS)
    for (const [index, id] of unmarked.entries()) {
      const { url } = brokers[index % brokers.length]!
      const answer = await ask(url, 'GET', `/v1/connections/${id}/credential`, { key: scannerKey })
      if (answer?.status === 200) violations.push(`${id} is lost, and a token was handed out for it`)
    }
    const marked = new Set(
      (await readStates(scene)).flatMap(({ id, status }) => (status === 'active' ? [] : [id])),
    )
    unmarked = unmarked.filter((id) => !marked.has(id))
  }
  return [...violations, ...unmarked.map((id) => `${id} is lost, and was never marked`)]
}
