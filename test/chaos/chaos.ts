import { setTimeout as sleep } from 'node:timers/promises'
import type { Engine } from '../../simulator/iam.ts'
import type { RequestEntry } from '../../simulator/requests.ts'
import { followGenerations } from './generations.ts'
import { awaitMarks, heal } from './healing.ts'
import type { Journal } from './journal.ts'
import { judge, type Verdict } from './judgement.ts'
import { createLedger, type Ledger } from './ledger.ts'
import { createRandom } from './random.ts'
import { runScanner } from './scanner.ts'
import { type Scene, type SceneSize, setScene, untilAllListen } from './scene.ts'
import { readStates, readWeather } from './states.ts'
import { makeTrouble } from './troubles.ts'

export type ChaosOptions = {
  seconds: number
  seed: number
  size?: Partial<SceneSize>
  scanners?: number
  /** Whether to wait, for minutes, until what was lost says so by its status. */
  untilMarked?: boolean
  /** Which auth service of GitLab issues the OAuth tokens; Doorkeeper when left out. */
  engine?: Engine | undefined
  /** Where the brokers' logs go, each line behind the name of its process. */
  logFile?: string | undefined
  say?(line: string): void
}

export type ChaosReport = {
  seed: number
  seconds: number
  troubles: Map<string, number>
  ledger: Ledger
  verdict: Verdict
  journal: Pick<Journal, 'endings' | 'spoolPickUps' | 'keptInMemoryOnly'>
  connections: number
  /** How long after the end of all trouble the last connection was well. */
  healedAfterSeconds: number
  /** Refusals by minute and open incidents, as JSON. */
  weather: string
  /** Everything that must not be; empty = passed. */
  violations: string[]
}

const SIZE: SceneSize = { oauth: 220, preempted: 20, personal: 20, tokenLifeSeconds: 20 }
const SCANNERS = 36
const COLLECT_EVERY_MS = 2_000

/** Sets the scene, lets scanners and troubles loose for a while, lets it heal, and judges. */
export const runChaos = async ({ seconds, seed, say = () => undefined, ...more }: ChaosOptions) => {
  const random = createRandom(seed)
  const scene = await setScene({ ...SIZE, ...more.size }, random, more)
  try {
    say(`${scene.subjects.length} connections, ${scene.brokers.length} brokers, seed ${seed}`)
    const ledger = createLedger()
    const troubles = new Map<string, number>()
    const issuing = collectIssuing(scene)
    const stopping = new AbortController()
    const generations = followGenerations(scene.simulator.world)
    const stage = { scene, ledger, generations, stopping: stopping.signal }
    const scanners = Array.from({ length: more.scanners ?? SCANNERS }, () =>
      runScanner({ ...stage, random: random.fork() }),
    )
    const trouble = makeTrouble(scene, random.fork(), {
      seconds,
      stopping: stopping.signal,
      happened: troubles,
    })
    await sleep(seconds * 1000)
    stopping.abort()
    say('all trouble ends; everything that can be saved has to come back')
    await trouble
    scene.simulator.faults.clear()
    await Promise.all(scanners)
    await untilAllListen(scene.brokers)
    const healing = await heal(scene, generations)
    const weather = await readWeather(scene)

    const pronounce = async () =>
      judge({
        events: [...scene.simulator.world.events],
        issuing: issuing.soFar(),
        notes: scene.journal.notes,
        endings: scene.journal.endings,
        starts: scene.journal.starts,
        gaps: scene.database.gaps,
        finals: await readStates(scene),
      })
    let verdict = await pronounce()
    const unmarked: string[] = []
    if (more.untilMarked) {
      say(`${verdict.losses.length} cannot be saved; waiting until they say so`)
      unmarked.push(
        ...(await awaitMarks(
          scene,
          verdict.losses.map(({ connectionId }) => connectionId),
        )),
      )
      verdict = await pronounce()
    }
    issuing.stop()
    const report: ChaosReport = {
      seed,
      seconds,
      troubles,
      ledger,
      verdict,
      journal: scene.journal,
      connections: scene.subjects.length,
      healedAfterSeconds: healing.seconds,
      weather,
      violations: [],
    }
    report.violations = [...allViolations(report, scene, healing.stillAiling), ...unmarked]
    return report
  } finally {
    await scene.close()
  }
}

/** The log of requests forgets the oldest: what matters is taken out as it goes. */
const collectIssuing = ({ simulator: { requests } }: Scene) => {
  const issuing = new Set<RequestEntry>()
  const collect = () => {
    for (const entry of requests.all()) if (entry.issued) issuing.add(entry)
  }
  const timer = setInterval(collect, COLLECT_EVERY_MS)
  return {
    soFar(): RequestEntry[] {
      collect()
      return [...issuing]
    },
    stop: () => clearInterval(timer),
  }
}

const allViolations = (
  { ledger, verdict }: ChaosReport,
  { journal }: Scene,
  stillAiling: string[],
): string[] => {
  const lost = new Set(verdict.losses.map(({ connectionId }) => connectionId))
  const named = (name: string, items: string[]) => items.map((item) => `${name}: ${item}`)
  const crashes = journal.endings.filter(({ how }) => how === 'by itself')
  return [
    ...verdict.violations,
    ...named('a leased token failed at GitLab', ledger.brokenLeases),
    ...named('a spent token was handed out', ledger.spentTokens),
    ...named('500', ledger.serverErrors),
    ...named('no answer', ledger.hanging),
    ...named('unexpected', journal.unexpected),
    ...named('a secret in a log', journal.withSecret),
    ...crashes.map(({ incarnation, at, lastWords }) => {
      return `${incarnation} ended by itself at ${new Date(at).toISOString()}: ${lastWords.slice(-1_500)}`
    }),
    ...stillAiling.filter((line) => !lost.has(line.split(' ', 1)[0]!)).map((line) => `did not heal: ${line}`),
  ]
}
