import { timingSafeEqual } from 'node:crypto'
import type { Database } from '../../db/database.ts'
import type { AuditSealRow } from '../../db/tables.ts'
import type { NamedKeys } from '../../vault/named-keys.ts'
import {
  countUnsealed,
  findCanonicalEvents,
  findDeclaredDeletions,
  findStrayEvents,
  findVanishedEvents,
  listSeals,
} from './queries.ts'
import { contentOf, GENESIS, hashSeal, hourAfter, type SealContent, sha256 } from './seal.ts'
import type { LeaseDigests } from './seal-audit.ts'

const SEALS_AT_ONCE = 100
/** Whoever reads has the first ones to look after. */
const MOST_FAULTS = 20

export type AuditReport = {
  seals: number
  events: number
  leaseHours: number
  /** In the order of the chain: the first one is where to look. */
  faults: string[]
  /** What is as it may be, and worth knowing. */
  notices: string[]
}

export type VerifyDeps = {
  db: Database
  namedKeys: Pick<NamedKeys, 'sealMac'>
  leaseDigests: Pick<LeaseDigests, 'digest'>
}

type Options = {
  /** A seal that was noted elsewhere, such as in a SIEM: it has to be in the chain as it was then. */
  expected?: { id: number; sha256: string } | undefined
}

const isSame = (one: string, other: string): boolean =>
  one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other))

/** Recomputes the whole chain from the rows: what is missing, was altered, or is in no seal. */
export const verifyAudit = async (deps: VerifyDeps, { expected }: Options = {}): Promise<AuditReport> => {
  const report: AuditReport = { seals: 0, events: 0, leaseHours: 0, faults: [], notices: [] }
  const declared = await findDeclaredDeletions(deps.db)
  let before: SealContent & { sha256: string } = { ...NOTHING, id: declared.lastSeal ?? 0 }
  let isAnchor = true
  let leaseHour: Date | undefined
  for (;;) {
    const rows = await listSeals(deps.db, isAnchor ? '0' : String(before.id), SEALS_AT_ONCE)
    if (rows.length === 0 || report.faults.length >= MOST_FAULTS) break
    for (const row of rows) {
      const content = contentOf(row)
      report.faults.push(...checkPlace(row, before, isAnchor), ...(await checkSelf(deps, row)))
      report.faults.push(...(await checkEvents(deps.db, content)))
      if (content.leases) {
        report.faults.push(...(await checkLeases(deps, content, leaseHour, declared.leasesBefore)))
        leaseHour = content.leases.hour
        report.leaseHours += 1
      }
      if (expected?.id === content.id && expected.sha256 !== row.sha256)
        report.faults.push(`Seal ${content.id} is not the one that was noted elsewhere.`)
      report.seals += 1
      report.events += content.events.length
      before = { ...content, sha256: row.sha256 }
      isAnchor = false
    }
  }
  if (expected && expected.id > before.id)
    report.faults.push(
      `Seal ${expected.id}, which was noted elsewhere, is missing: the chain ends at ${before.id}.`,
    )
  if (declared.lastSeal !== null)
    report.notices.push(
      `Retention deleted the seals up to ${declared.lastSeal}: the oldest one kept is the anchor.`,
    )
  if (declared.leasesBefore !== null)
    report.notices.push(
      `Retention deleted the leases of the hours before ${declared.leasesBefore.toISOString()}: their digests are not compared.`,
    )
  await checkRest(deps.db, report)
  report.faults.splice(MOST_FAULTS)
  return report
}

const NOTHING = { at: new Date(0), events: [], leases: undefined, previous: '', sha256: GENESIS }

const checkPlace = (
  row: AuditSealRow,
  before: { id: number; sha256: string },
  isAnchor: boolean,
): string[] => {
  const id = Number(row.id)
  const next = before.id + 1
  if (id !== next) {
    const missing = next < id - 1 ? `Seals ${next} to ${id - 1} are` : `Seal ${next} is`
    return [
      id > next ? `${missing} missing.` : `Seal ${id} should be gone: retention says that it deleted it.`,
    ]
  }
  // The anchor continues a seal that retention deleted; only the first of all has a known one before it.
  if (isAnchor && id > 1) return []
  return row.previous_sha256 === before.sha256 ? [] : [`Seal ${id} does not continue seal ${before.id}.`]
}

const checkSelf = async ({ namedKeys }: VerifyDeps, row: AuditSealRow): Promise<string[]> => {
  const hash = hashSeal(contentOf(row))
  const isWhole =
    row.events.length === row.event_count &&
    row.events.length === row.event_hashes.length &&
    (row.events[0] ?? null) === row.first_event &&
    (row.events.at(-1) ?? null) === row.last_event
  if (!isWhole || hash !== row.sha256) return [`Seal ${row.id} was altered.`]
  return isSame(await namedKeys.sealMac(hash), row.mac)
    ? []
    : [`Seal ${row.id} was not made by this broker: its MAC is another.`]
}

const checkEvents = async (db: Database, { id, events }: SealContent): Promise<string[]> => {
  if (events.length === 0) return []
  const rows = await findCanonicalEvents(
    db,
    events.map((event) => event.id),
  )
  const texts = new Map(rows.map((row) => [row.id, row.text]))
  return events.flatMap((event) => {
    const text = texts.get(event.id)
    if (text === undefined) return [`Event ${event.id} is missing: seal ${id} names it.`]
    return sha256(text) === event.sha256 ? [] : [`Event ${event.id} was altered since seal ${id}.`]
  })
}

const checkLeases = async (
  { leaseDigests }: VerifyDeps,
  { id, leases }: SealContent,
  hourBefore: Date | undefined,
  deletedBefore: Date | null,
): Promise<string[]> => {
  if (!leases) return []
  const { hour, count, sha256: sealed } = leases
  const faults =
    hourBefore && hour.getTime() !== hourAfter(hourBefore).getTime()
      ? [
          `The hours of leases between ${hourAfter(hourBefore).toISOString()} and ${hour.toISOString()} are in no seal.`,
        ]
      : []
  if (deletedBefore && hour < deletedBefore) return faults
  const now = await leaseDigests.digest(hour)
  if (now.count === count && now.sha256 === sealed) return faults
  const difference =
    now.count === count ? `${count} as then, but at least one was altered` : `${now.count}, and were ${count}`
  return [
    ...faults,
    `The leases of the hour from ${hour.toISOString()} are not those of seal ${id}: ${difference}.`,
  ]
}

/** What the chain does not reach. */
const checkRest = async (db: Database, report: AuditReport): Promise<void> => {
  for (const { id, at } of await findStrayEvents(db, MOST_FAULTS))
    report.faults.push(
      `Event ${id} of ${at.toISOString()} is in no seal and waits for none: its seal is missing, or somebody inserted it.`,
    )
  for (const id of await findVanishedEvents(db, MOST_FAULTS))
    report.faults.push(`Event ${id} is missing: it was deleted before it was sealed.`)
  const { count, since } = await countUnsealed(db)
  if (count > 0)
    report.notices.push(`${count} events are not sealed yet, the first since ${since?.toISOString()}.`)
}
