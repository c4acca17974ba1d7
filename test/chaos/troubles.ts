import { setTimeout as sleep } from 'node:timers/promises'
import type { FaultEffect, FaultRule } from '../../simulator/faults.ts'
import type { Random } from './random.ts'
import type { Scene } from './scene.ts'

/** Of the simulated GitLab: requests that may change a token. */
const REFRESH = { path: '/oauth/token', grantType: 'refresh_token' }
/** Above the time that a broker waits for GitLab. */
const TOO_SLOW_SECONDS = 9.5

type Trouble = {
  name: string
  /** Share among the others. */
  weight: number
  run(scene: Scene, random: Random): Promise<void>
}

const during = async (scene: Scene, rule: FaultRule, seconds: number): Promise<void> => {
  const armed = scene.simulator.faults.add(rule)
  await sleep(seconds * 1000)
  armed.remove()
}

const storm = (scene: Scene, probability: number, effect: FaultEffect, seconds: number) =>
  during(scene, { match: {}, times: Number.POSITIVE_INFINITY, probability, effect }, seconds)

/** Strikes the next few refreshes, whoever sends them. */
const strike = (effect: FaultEffect, most: number) => async (scene: Scene, random: Random) => {
  const times = Math.ceil(random.between(0, most))
  await during(scene, { match: REFRESH, times, effect }, random.between(1, 3))
}

const after = (seconds: number): Promise<void> => sleep(seconds * 1000, undefined, { ref: false })

const TROUBLES: Trouble[] = [
  {
    name: 'kill -9',
    weight: 6,
    run: (scene, random) => random.pick(scene.brokers).kill(random.between(0, 2_000)),
  },
  {
    // Answers held back make it likely that a broker dies between GitLab's commit and its own.
    name: 'kill -9 while GitLab answers',
    weight: 3,
    async run(scene, random) {
      const effect: FaultEffect = { kind: 'hold-after', until: after(0.8) }
      const armed = scene.simulator.faults.add({ match: REFRESH, times: 2, effect })
      const limit = performance.now() + 3_000
      while (armed.fired() < 1 && performance.now() < limit) await sleep(20)
      await sleep(200)
      armed.remove()
      await random.pick(scene.brokers).kill(random.between(0, 1_000))
    },
  },
  {
    name: 'graceful restart of a broker',
    weight: 5,
    run: (scene, random) => random.pick(scene.brokers).restart(random.between(0, 1_000)),
  },
  {
    name: 'PostgreSQL restarts',
    weight: 3,
    async run({ cluster }, random) {
      await cluster.halt('shut down')
      await sleep(random.between(0, 2_500))
      await cluster.resume()
    },
  },
  {
    name: 'PostgreSQL crashes',
    weight: 3,
    async run({ cluster }, random) {
      await cluster.halt('crash')
      await sleep(random.between(0, 2_500))
      await cluster.resume()
    },
  },
  {
    // What GitLab issues meanwhile has nowhere to go.
    name: 'PostgreSQL stops while GitLab answers, and a broker is restarted',
    weight: 2,
    async run({ cluster, simulator, brokers }, random) {
      const effect: FaultEffect = { kind: 'hold-after', until: after(1.5) }
      const armed = simulator.faults.add({ match: REFRESH, times: 3, effect })
      const limit = performance.now() + 3_000
      while (armed.fired() < 1 && performance.now() < limit) await sleep(20)
      await cluster.halt(random.pick(['shut down', 'crash']))
      armed.remove()
      await sleep(1_700)
      const restarted = random.pick(brokers).restart(0)
      await sleep(random.between(500, 2_000))
      await cluster.resume()
      await restarted
    },
  },
  {
    name: 'storm of 5xx',
    weight: 4,
    run: (scene, random) =>
      storm(
        scene,
        random.between(0.3, 0.95),
        { kind: 'status', status: random.pick([500, 502, 503, 504]) },
        random.between(1, 5),
      ),
  },
  {
    name: 'storm of 429',
    weight: 3,
    run: (scene, random) =>
      storm(
        scene,
        random.between(0.3, 0.9),
        { kind: 'rate-limit', retryAfterSeconds: Math.ceil(random.between(0, 2)) },
        random.between(1, 4),
      ),
  },
  { name: 'refreshes cut before GitLab acts', weight: 4, run: strike({ kind: 'cut-before' }, 4) },
  { name: 'refreshes cut after GitLab acted', weight: 2, run: strike({ kind: 'cut-after' }, 2) },
  {
    name: 'GitLab is slow',
    weight: 4,
    run: (scene, random) =>
      storm(
        scene,
        random.between(0.2, 0.7),
        { kind: 'delay', seconds: random.between(0.3, 2.5) },
        random.between(1, 4),
      ),
  },
  {
    name: 'a refresh takes too long and is done nevertheless',
    weight: 1,
    run: strike({ kind: 'delay', seconds: TOO_SLOW_SECONDS }, 1),
  },
  {
    name: 'GitLab refuses good refresh tokens',
    weight: 3,
    run: strike({ kind: 'invalid-grant' }, 3),
  },
  { name: 'a web page instead of a token', weight: 2, run: strike({ kind: 'html' }, 2) },
  {
    name: 'maintenance mode',
    weight: 1,
    run: (scene, random) => storm(scene, 1, { kind: 'maintenance' }, random.between(1, 3)),
  },
]

/** Each as often as it weighs. */
const URN = TROUBLES.flatMap((trouble) => Array.from({ length: trouble.weight }, () => trouble))

/** Two lines of trouble, so that troubles meet; PostgreSQL is one, and only one of them touches it at a time. */
export const makeTrouble = async (
  scene: Scene,
  random: Random,
  stopping: AbortSignal,
  happened: Map<string, number>,
): Promise<void> => {
  let databaseBusy = false
  const line = async (own: Random) => {
    while (!stopping.aborted) {
      await sleep(own.between(300, 2_500))
      if (stopping.aborted) return
      const trouble = own.pick(URN)
      const touchesDatabase = trouble.name.startsWith('PostgreSQL')
      if (touchesDatabase && databaseBusy) continue
      if (touchesDatabase) databaseBusy = true
      happened.set(trouble.name, (happened.get(trouble.name) ?? 0) + 1)
      scene.journal.did(`begins: ${trouble.name}`)
      await trouble.run(scene, own)
      scene.journal.did(`is over: ${trouble.name}`)
      if (touchesDatabase) databaseBusy = false
    }
  }
  await Promise.all([line(random.fork()), line(random.fork())])
}
