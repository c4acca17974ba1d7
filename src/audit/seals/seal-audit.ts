import type { Logger } from 'pino'
import type { Database } from '../../db/database.ts'
import { isUniqueViolation } from '../../db/sqlstate.ts'
import type { NamedKeys } from '../../vault/named-keys.ts'
import { toAuditEvent } from '../audit-event.ts'
import {
  AlreadySealedError,
  findNewestLeaseHour,
  findNewestSeal,
  findUnsealed,
  insertSeal,
  readDatabaseTime,
} from './queries.ts'
import {
  GENESIS,
  hashSeal,
  hourAfter,
  type LeaseDigest,
  type SealContent,
  sha256,
  startOfHour,
} from './seal.ts'

/** Transactions under way end in far less; one that takes longer is sealed later, not wrongly. */
const SETTLED_AFTER_MS = 60_000
/** A lease is written within seconds of the time in its id; replicas whose clocks differ by more than this do not serve. */
const LEASES_SETTLED_AFTER_MS = 600_000
const EVENTS_PER_SEAL = 500
/** The rest waits for the next run, a minute later. */
const MOST_SEALS_PER_RUN = 60
const MOST_HOURS_PER_RUN = 24

/** The leases room's part, which this room stands below. */
export type LeaseDigests = {
  /** The hour of the oldest lease; undefined when there is none. */
  oldestHour(): Promise<Date | undefined>
  /** Of the leases whose ids say the hour that begins then. */
  digest(hour: Date): Promise<LeaseDigest>
}

export type SealDeps = {
  db: Database
  namedKeys: Pick<NamedKeys, 'sealMac'>
  leaseDigests: LeaseDigests
  /** Each sealed event and each seal is one line of it: for a SIEM. */
  auditLog: Pick<Logger, 'info'>
}

type Options = {
  /** What counts as now; left out: the database's clock. */
  now?: Date
}

/**
 * Chains what was recorded: each seal names its events with their hashes, holds the hash of the seal before, and carries
 * a MAC of the vault. Recording itself waits for none of this. May run anywhere, any number of times.
 */
export const sealAudit = async (deps: SealDeps, { now }: Options = {}): Promise<void> => {
  const time = now ?? (await readDatabaseTime(deps.db))
  try {
    for (let seals = 0; seals < MOST_SEALS_PER_RUN; seals += 1) if (!(await sealEvents(deps, time))) break
    for (let hours = 0; hours < MOST_HOURS_PER_RUN; hours += 1) if (!(await sealLeases(deps, time))) break
  } catch (error) {
    // Another replica was first: its seal is as good.
    if (!isUniqueViolation(error) && !(error instanceof AlreadySealedError)) throw error
  }
}

/** @returns whether there was anything to seal. */
const sealEvents = async (deps: SealDeps, now: Date): Promise<boolean> => {
  const unsealed = await findUnsealed(deps.db, new Date(now.getTime() - SETTLED_AFTER_MS), EVENTS_PER_SEAL)
  if (unsealed.length === 0) return false
  const events = unsealed.map(({ id, text }) => ({ id, sha256: sha256(text) }))
  await addSeal(deps, { at: now, events, leases: undefined }, () => {
    for (const { row } of unsealed) deps.auditLog.info({ event: toAuditEvent(row) }, 'audit event')
  })
  return true
}

/** @returns whether an hour has ended whose leases no seal covers. */
const sealLeases = async (deps: SealDeps, now: Date): Promise<boolean> => {
  const newest = await findNewestLeaseHour(deps.db)
  const hour = newest ? hourAfter(newest) : ((await deps.leaseDigests.oldestHour()) ?? startOfHour(now))
  if (hourAfter(hour).getTime() + LEASES_SETTLED_AFTER_MS > now.getTime()) return false
  await addSeal(deps, { at: now, events: [], leases: await deps.leaseDigests.digest(hour) })
  return true
}

/** @param beforeCommit at least once for each seal: a run that ends here does it again. */
const addSeal = async (
  { db, namedKeys, auditLog }: SealDeps,
  what: Pick<SealContent, 'at' | 'events' | 'leases'>,
  beforeCommit: () => void = () => undefined,
): Promise<void> => {
  const newest = await findNewestSeal(db)
  const content: SealContent = {
    ...what,
    id: Number(newest?.id ?? 0) + 1,
    previous: newest?.sha256 ?? GENESIS,
  }
  const hash = hashSeal(content)
  const mac = await namedKeys.sealMac(hash)
  beforeCommit()
  await insertSeal(db, content, { sha256: hash, mac })
  auditLog.info(
    { seal: { id: content.id, sha256: hash, events: content.events.length, leases: content.leases } },
    'audit seal',
  )
}
