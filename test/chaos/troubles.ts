import { setTimeout as sleep } from 'node:timers/promises'
import type { FaultEffect, FaultRule } from '../../simulator/faults.ts'
import type { Random } from './random.ts'
import type { Scene } from './scene.ts'

/** Of the simulated GitLab: requests that may change a token. */
const REFRESH = { path: '/oauth/token', grantType: 'refresh_token' }

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
    name: 'rolling restart of all brokers',
    weight: 2,
    async run({ brokers }) {
      for (const broker of brokers) await broker.restart(0)
    },
  },
  {
    name: 'a clock is set back an hour',
    weight: 1,
    run: async (scene, random) => random.pick(scene.brokers).setClockBack(),
  },
  {
    name: 'PostgreSQL restarts',
    weight: 3,
    run: ({ database }, random) => database.interrupt('shut down', () => sleep(random.between(0, 2_500))),
  },
  {
    name: 'PostgreSQL crashes',
    weight: 3,
    run: ({ database }, random) => database.interrupt('crash', () => sleep(random.between(0, 2_500))),
  },
  {
    // What GitLab issues meanwhile has nowhere to go.
    name: 'PostgreSQL stops while GitLab answers, and a broker is restarted',
    weight: 2,
    async run({ database, simulator, brokers }, random) {
      const effect: FaultEffect = { kind: 'hold-after', until: after(1.5) }
      const armed = simulator.faults.add({ match: REFRESH, times: 3, effect })
      const limit = performance.now() + 3_000
      while (armed.fired() < 1 && performance.now() < limit) await sleep(20)
      let restarted: Promise<void> | undefined
      await database.interrupt(random.pick(['shut down', 'crash']), async () => {
        armed.remove()
        await sleep(1_700)
        restarted = random.pick(brokers).restart(0)
        await sleep(random.between(500, 2_000))
      })
      armed.remove()
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
    name: 'GitLab answers a refresh after up to a minute',
    weight: 2,
    run: (scene, random) => strike({ kind: 'delay', seconds: random.between(9, 60) }, 2)(scene, random),
  },
  {
    // A proxy gives up while GitLab works on: the refresh is done, and its answer reaches nobody.
    name: 'an error before GitLab acts',
    weight: 1,
    run: (scene, random) => {
      const answer = random.pick<'cut' | number>([500, 502, 504, 'cut'])
      return strike({ kind: 'act-later', answer, until: after(random.between(0.5, 12)) }, 1)(scene, random)
    },
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

/** Each once in a run, at its share of the time, in this order. */
const GREAT_TROUBLES: (Omit<Trouble, 'weight'> & { at: [number, number] })[] = [
  { name: 'a backup of the database is taken', at: [0.12, 0.18], run: ({ database }) => database.backUp() },
  {
    name: 'the backup is put in the place of the database, under running brokers',
    at: [0.3, 0.4],
    run: ({ database }, random) => database.restore(random.chance(0.5)),
  },
  {
    name: 'PostgreSQL dies, and its synchronous standby takes over',
    at: [0.5, 0.55],
    run: ({ database }, random) => database.failOver(random.between(0, 2_500)),
  },
  {
    name: 'PostgreSQL dies, and an asynchronous standby takes over that was behind',
    at: [0.7, 0.8],
    run: ({ database }, random) =>
      database.failOverWithLoss(random.between(200, 4_000), random.between(0, 2_500)),
  },
]

/** Each as often as it weighs. */
const URN = TROUBLES.flatMap((trouble) => Array.from({ length: trouble.weight }, () => trouble))

/** Two lines of trouble, so that troubles meet; PostgreSQL is one, and only one of them touches it at a time. */
export const makeTrouble = async (
  scene: Scene,
  random: Random,
  { seconds, stopping, happened }: { seconds: number; stopping: AbortSignal; happened: Map<string, number> },
): Promise<void> => {
  let databaseBusy = false
  const started = performance.now()
  const greatLine = async (own: Random) => {
    for (const { name, at, run } of GREAT_TROUBLES) {
      await sleep(Math.max(0, own.between(...at) * seconds * 1000 - (performance.now() - started)))
      while (databaseBusy) await sleep(20)
      databaseBusy = true
      happened.set(name, 1)
      scene.journal.did(`begins: ${name}`)
      await run(scene, own)
      scene.journal.did(`is over: ${name}`)
      databaseBusy = false
    }
  }
  const line = async (own: Random) => {
    while (!stopping.aborted) {
      await sleep(own.between(300, 2_500))
      if (stopping.aborted) return
      const trouble = own.pick(URN)
      const touchesDatabase = trouble.name.startsWith('PostgreSQL')
      if (touchesDatabase && (databaseBusy || scene.database.hasFailedOver())) continue
      if (touchesDatabase) databaseBusy = true
      happened.set(trouble.name, (happened.get(trouble.name) ?? 0) + 1)
      scene.journal.did(`begins: ${trouble.name}`)
      await trouble.run(scene, own)
      scene.journal.did(`is over: ${trouble.name}`)
      if (touchesDatabase) databaseBusy = false
    }
  }
  await Promise.all([line(random.fork()), line(random.fork()), greatLine(random.fork())])
}
