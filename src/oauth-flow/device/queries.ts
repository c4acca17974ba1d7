import type { Database } from '../../db/database.ts'
import type { AuthorizationRequestRow, DeviceOutcome } from '../../db/tables.ts'

type Codes = { deviceJwe: string; pollAt: Date; pollSeconds: number; expiresAt: Date }

export const saveDeviceCodes = async (
  db: Database,
  id: string,
  { deviceJwe, pollAt, pollSeconds, expiresAt }: Codes,
): Promise<void> => {
  await db
    .updateTable('authorization_requests')
    .set({ device_jwe: deviceJwe, poll_at: pollAt, poll_seconds: pollSeconds, expires_at: expiresAt })
    .where('id', '=', id)
    .execute()
}

/** Of two who want to ask GitLab at the same time, one may. @returns undefined when it is not time yet, or over. */
export const claimPoll = (
  db: Database,
  id: string,
  now: Date,
  until: Date,
): Promise<AuthorizationRequestRow | undefined> =>
  db
    .updateTable('authorization_requests')
    .set({ poll_at: until })
    .where('id', '=', id)
    .where('device_jwe', 'is not', null)
    .where('poll_at', '<=', now)
    .returningAll()
    .executeTakeFirst()

export const savePoll = async (
  db: Database,
  id: string,
  pollAt: Date,
  pollSeconds: number,
): Promise<void> => {
  await db
    .updateTable('authorization_requests')
    .set({ poll_at: pollAt, poll_seconds: pollSeconds })
    .where('id', '=', id)
    .where('device_jwe', 'is not', null)
    .execute()
}

/** The tokens in place of the codes. */
export const saveDeviceGrant = async (
  db: Database,
  id: string,
  grantJwe: string,
  now: Date,
): Promise<void> => {
  await db
    .updateTable('authorization_requests')
    .set({ grant_jwe: grantJwe, granted_at: now, consumed_at: now, device_jwe: null, poll_at: null })
    .where('id', '=', id)
    .execute()
}

/** How it came out: nobody asks GitLab any more. The first outcome stays. */
export const saveOutcome = async (db: Database, id: string, outcome: DeviceOutcome): Promise<void> => {
  await db
    .updateTable('authorization_requests')
    .set({ device_jwe: null, poll_at: null, outcome: JSON.stringify(outcome) })
    .where('id', '=', id)
    .where('poll_seconds', 'is not', null)
    .where('outcome', 'is', null)
    .execute()
}

/** Those that a link has begun and that wait for a person. */
export const findWaitingDevices = (
  transaction: Database,
  connectSessionId: string,
): Promise<{ id: string }[]> =>
  transaction
    .selectFrom('authorization_requests')
    .select('id')
    .where('connect_session_id', '=', connectSessionId)
    .where('device_jwe', 'is not', null)
    .execute()

/** Those that are due, the longest due first. */
export const findDuePolls = (db: Database, now: Date, limit: number): Promise<{ id: string }[]> =>
  db
    .selectFrom('authorization_requests')
    .select('id')
    .where('device_jwe', 'is not', null)
    .where('poll_at', '<=', now)
    .orderBy('poll_at')
    .limit(limit)
    .execute()
