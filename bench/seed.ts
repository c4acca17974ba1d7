import { sql } from 'kysely'
import { v7 as uuidv7 } from 'uuid'
import { hashAccessKey } from '../src/access-keys/key-format.ts'
import { systemClock } from '../src/clock/clock.ts'
import type { Database } from '../src/db/database.ts'
import { openKeyRing } from '../src/vault/key-ring.ts'
import { createVault } from '../src/vault/vault.ts'

export const MASTER_KEY = Buffer.alloc(32, 9).toString('base64')
export const SCANNER_KEY = 'FAKE-bench-scanner-key-0123456789-0123456789'
export const ADMIN_KEY = 'FAKE-bench-admin-key-0123456789-0123456789'
const GITLAB_COM = '01900000-0000-7000-8000-000000000001'
const ROWS_PER_INSERT = 20_000
const ORGANIZATIONS = 100

export type Seeded = { id: string; organization: string; url: string }

/**
 * Fills the database with connections of 100 organizations, each limited to a group of its own. Those that will be
 * looked up have a real ciphertext; the others one of the same length, since nobody opens it.
 */
export const seedConnections = async (db: Database, count: number, lookedUp: number): Promise<Seeded[]> => {
  const vault = createVault(
    await openKeyRing(db, [new Uint8Array(Buffer.from(MASTER_KEY, 'base64'))], systemClock),
  )
  const every = Math.max(1, Math.floor(count / lookedUp))
  const seal = (id: string) => vault.seal('f'.repeat(64), { ownerId: id, version: 1, use: 'access' })
  const filler = await seal(uuidv7())
  const seeded: Seeded[] = []

  for (let from = 0; from < count; from += ROWS_PER_INSERT) {
    const numbers = Array.from(
      { length: Math.min(ROWS_PER_INSERT, count - from) },
      (_, index) => from + index,
    )
    const ids = numbers.map(() => uuidv7())
    const tokens = await Promise.all(
      numbers.map(async (number, index) => {
        if (number % every !== 0 || seeded.length >= lookedUp) return filler
        const id = ids[index]!
        seeded.push({
          id,
          organization: `org-${number % ORGANIZATIONS}`,
          url: `https://gitlab.com/group-${number}/project`,
        })
        return seal(id)
      }),
    )
    await sql`
      insert into connections (
        id, organization, instance_id, method, token_kind, group_path, gitlab_user_id, gitlab_username, status, scopes,
        token_version, access_token, token_issued_at, token_expires_at, last_verified_at, created_at, updated_at
      )
      select id, 'org-' || number % ${ORGANIZATIONS}::int, ${GITLAB_COM}::uuid, 'token', 'personal_access_token', 'group-' || number,
        number::text, 'user-' || number, 'active', '{read_api,read_repository}', 1, token, now(),
        now() + interval '300 days', now(), now(), now()
      from unnest(${ids}::uuid[], ${numbers}::int[], ${tokens}::text[]) as row (id, number, token)
    `.execute(db)
  }
  return seeded
}

export const seedAccessKeys = async (db: Database): Promise<void> => {
  const now = new Date()
  const row = { organizations: ['*'], created_at: now, expires_at: null }
  await db
    .insertInto('access_keys')
    .values([
      {
        ...row,
        id: uuidv7(),
        name: 'bench scanner',
        role: 'scanner',
        key_sha256: hashAccessKey(SCANNER_KEY),
      },
      { ...row, id: uuidv7(), name: 'bench admin', role: 'admin', key_sha256: hashAccessKey(ADMIN_KEY) },
    ])
    .execute()
}
