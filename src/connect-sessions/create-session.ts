import { v7 as uuidv7 } from 'uuid'
import { recordAuditEvent } from '../audit/queries.ts'
import type { Actor } from '../callers/principal.ts'
import { addSeconds, type Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { generateSessionToken, hashSessionToken } from './connect-session.ts'
import { insertConnectSession } from './queries.ts'

export type NewConnectSession = {
  organization: string
  returnUrl: string | null
  methods: readonly string[]
  expiresInSeconds: number
  /** The connection that the link reconnects; null = it connects anew. */
  connectionId?: string | null
  /** The only instance at which the link connects; null = any. */
  baseUrl?: string | null
  /** The group or project to which the connection is limited; null = the person may say. */
  group?: string | null
  labels?: Record<string, string>
}

/** @returns the token of the link, which is stored nowhere: only its SHA-256 is. */
export const createConnectSession = async (
  { db, clock }: { db: Database; clock: Clock },
  wanted: NewConnectSession,
  caller: Actor,
): Promise<{ id: string; token: string; expiresAt: Date }> => {
  const { organization, expiresInSeconds } = wanted
  const now = new Date(clock())
  const token = generateSessionToken()
  const id = uuidv7()
  const expiresAt = addSeconds(now, expiresInSeconds)
  await db.transaction().execute(async (transaction) => {
    await insertConnectSession(transaction, {
      id,
      token_sha256: hashSessionToken(token),
      organization,
      return_url: wanted.returnUrl,
      methods: [...wanted.methods],
      connection_id: wanted.connectionId ?? null,
      base_url: wanted.baseUrl ?? null,
      group_path: wanted.group ?? null,
      labels: wanted.labels ?? {},
      access_key_id: caller.accessKeyId,
      created_at: now,
      expires_at: expiresAt,
    })
    await recordAuditEvent(transaction, {
      at: now,
      action: 'connect_session.created',
      organization,
      subjectId: id,
      ...(wanted.connectionId ? { details: { reconnects: wanted.connectionId } } : {}),
      ...caller,
    })
  })
  return { id, token, expiresAt }
}
