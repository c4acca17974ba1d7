import { setTimeout as sleep } from 'node:timers/promises'
import type { BrokerProcess } from './brokers.ts'
import type { Generations } from './generations.ts'
import { type Answer, ask, PATIENCE_MS } from './http.ts'
import { isForgottenLease } from './judgement.ts'
import { count, type Ledger } from './ledger.ts'
import type { Random } from './random.ts'
import type { Scene, Subject } from './scene.ts'

const SOFT_LEASE_SECONDS = 300
const LONGEST_HOLD_SECONDS = 6
/** A scanner has other repositories to go on with. */
const LONGEST_PAUSE_SECONDS = 2
/** A few connections are looked up by many at once. */
const HOT_SHARE = 0.03

type Wish = { minTtl: number | undefined; onConflict: 'respect' | 'preempt' }

type Credential = {
  givenAt: number
  lease_id: string
  token: string
  token_version: number
  expires_at: string | null
}

type Stage = { scene: Scene; ledger: Ledger; generations: Generations; random: Random; stopping: AbortSignal }

const draw = (random: Random, { preempted }: Subject): Wish => {
  if (preempted && random.chance(0.25))
    return { minTtl: Math.ceil(random.between(8, 14)), onConflict: 'preempt' }
  const onConflict = 'respect'
  if (random.chance(0.35)) return { minTtl: undefined, onConflict }
  return { minTtl: Math.ceil(random.chance(0.1) ? random.between(8, 12) : random.between(1, 5)), onConflict }
}

const liveBroker = ({ scene, random }: Stage): BrokerProcess | undefined => {
  const live = scene.brokers.filter((broker) => broker.incarnation() !== undefined)
  return live.length > 0 ? random.pick(live) : undefined
}

/** One after the other: look up, use at once, use again while the lease runs, release or let it run out. */
export const runScanner = async (stage: Stage): Promise<void> => {
  const { scene, random, stopping } = stage
  const { subjects } = scene
  const hot = subjects.slice(0, Math.ceil(subjects.length * HOT_SHARE))
  const later = new Set<Promise<void>>()
  while (!stopping.aborted) {
    const subject = random.pick(random.chance(0.2) ? hot : subjects)
    const broker = liveBroker(stage)
    const pauseSeconds = broker ? await lookUp(stage, broker, subject, later) : 0.1
    await sleep(1000 * Math.min(pauseSeconds, LONGEST_PAUSE_SECONDS) + random.between(250, 750))
  }
  await Promise.all(later)
}

/** @returns how long to wait before the next. */
const lookUp = async (
  stage: Stage,
  broker: BrokerProcess,
  subject: Subject,
  later: Set<Promise<void>>,
): Promise<number> => {
  const { scene, ledger, generations, random } = stage
  const wish = draw(random, subject)
  const query = new URLSearchParams({ purpose: 'chaos', on_conflict: wish.onConflict })
  if (wish.minTtl !== undefined) query.set('min_ttl', String(wish.minTtl))
  const before = generations.latest(subject.grantId).generation
  const askedAt = Date.now()
  const path = `/v1/connections/${subject.id}/credential?${query}`
  const answer = await askBroker(stage, broker, 'GET', path)
  if (!answer) {
    count(ledger.lookups, 'no answer')
    return 0
  }
  count(ledger.lookups, nameOf(answer))
  if (answer.status !== 200) return answer.retryAfterSeconds
  ledger.lookupMs.push(Date.now() - askedAt)
  const credential: Credential = { ...answer.body, givenAt: Date.now() }
  const given = scene.simulator.world.tokenDetails(credential.token)?.generation ?? 0
  if (given < before) {
    ledger.spentTokens.push(
      `${subject.id} version ${credential.token_version} (generation ${given}, GitLab was at ${before}), asked at ${new Date(askedAt).toISOString()}`,
    )
  }
  const leasedUntil = leaseEnd(askedAt, wish, credential)
  await use(stage, subject, credential, leasedUntil, broker)
  const held = holdAndUse(stage, subject, credential, leasedUntil).finally(() => later.delete(held))
  later.add(held)
  return 0
}

/** What the scanner may count on: from when it asked, as long as it wished, and no longer than the token lives. */
const leaseEnd = (askedAt: number, { minTtl }: Wish, { expires_at }: Credential): number => {
  const wished = askedAt + (minTtl ?? SOFT_LEASE_SECONDS) * 1000
  return expires_at === null ? wished : Math.min(wished, Date.parse(expires_at))
}

const holdAndUse = async (
  stage: Stage,
  subject: Subject,
  credential: Credential,
  leasedUntil: number,
): Promise<void> => {
  const { random, scene } = stage
  const mostMs = Math.min(leasedUntil - Date.now(), LONGEST_HOLD_SECONDS * 1000)
  if (mostMs > 0) await sleep(random.next() * mostMs)
  const broker = liveBroker(stage)
  const works = await use(stage, subject, credential, leasedUntil, broker)
  if (!works || random.chance(0.3)) return
  const other = liveBroker(stage)
  if (other) await ask(other.url, 'DELETE', `/v1/leases/${credential.lease_id}`, { key: scene.scannerKey })
}

/** @returns false when GitLab refused the token. */
const use = async (
  stage: Stage,
  subject: Subject,
  credential: Credential,
  leasedUntil: number,
  broker: BrokerProcess | undefined,
): Promise<boolean> => {
  const { scene, ledger, random } = stage
  const { simulator } = scene
  const answer = await ask(simulator.url, 'GET', ...callWith(random, subject, credential.token))
  count(ledger.uses, answer ? String(answer.status) : 'no answer')
  // Answered after the lease ended: nobody promised anything.
  if (answer?.status !== 401 || Date.now() > leasedUntil) return answer?.status !== 401
  if (subject.preempted) ledger.brokenByPreempt += 1
  else if (isForgotten(scene, subject, credential)) ledger.forgottenLeases += 1
  else {
    const { state, generation } = simulator.world.tokenDetails(credential.token) ?? {}
    const left = leasedUntil - Date.now()
    ledger.brokenLeases.push(
      `${new Date().toISOString()} ${subject.kind} ${subject.id} version ${credential.token_version}, generation ${generation}: ${state}, ${left} ms before the lease ${credential.lease_id} ends; ${answer.text.slice(0, 120)}`,
    )
  }
  if (broker) await reject(stage, broker, credential)
  return false
}

/** A database that went back knows of no lease of the time since, and lets the token be refreshed. */
const isForgotten = (
  { database, simulator: { world } }: Scene,
  { grantId }: Subject,
  { givenAt, token }: Credential,
): boolean => {
  const generation = world.tokenDetails(token)?.generation
  const replaced = world.events.findLast(
    (event) =>
      (event.kind === 'refreshed' || event.kind === 'rotated') &&
      event.grantId === grantId &&
      generation !== undefined &&
      event.generation === generation + 1,
  )
  return isForgottenLease(givenAt, replaced?.at, database.gaps)
}

const callWith = (
  random: Random,
  { kind }: Subject,
  token: string,
): [path: string, options: { headers: Record<string, string> }] => {
  const draw = random.next()
  if (draw < 0.3) {
    const basic = Buffer.from(`oauth2:${token}`).toString('base64')
    const path = '/globex/public-docs.git/info/refs?service=git-upload-pack'
    return [path, { headers: { authorization: `Basic ${basic}` } }]
  }
  const self = kind === 'personal' && draw < 0.6
  const path = self ? '/api/v4/personal_access_tokens/self' : '/api/v4/user'
  return [path, { headers: { authorization: `Bearer ${token}` } }]
}

const reject = async (stage: Stage, broker: BrokerProcess, { lease_id }: Credential): Promise<void> => {
  const answer = await askBroker(stage, broker, 'POST', `/v1/leases/${lease_id}/rejection`)
  count(stage.ledger.rejections, answer ? nameOf(answer) : 'no answer')
}

const askBroker = async (
  { scene, ledger }: Stage,
  broker: BrokerProcess,
  method: string,
  path: string,
): Promise<Answer | undefined> => {
  const asked = broker.incarnation()
  const answer = await ask(broker.url, method, path, { key: scene.scannerKey }).catch(() => {
    // A process that is killed while it is asked takes its answer with it; one that lives has to give one.
    if (asked !== undefined && broker.incarnation() === asked) {
      ledger.hanging.push(
        `${new Date().toISOString()} ${asked} ${method} ${path}: nothing for ${PATIENCE_MS} ms`,
      )
    }
    return undefined
  })
  if (answer && answer.status === 500) ledger.serverErrors.push(`${method} ${path}: ${answer.text}`)
  return answer
}

const nameOf = ({ status, body }: Answer): string =>
  status < 300 ? String(status) : `${status} ${body?.code ?? '(no problem document)'}`
