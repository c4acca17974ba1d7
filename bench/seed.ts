import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'kysely'
import { pino } from 'pino'
import { v7 as uuidv7 } from 'uuid'
import { SEEDED_APP } from '../simulator/seed.ts'
import { startSimulator } from '../simulator/simulator.ts'
import { hashAccessKey } from '../src/access-keys/key-format.ts'
import { sealAudit } from '../src/audit/seals/seal-audit.ts'
import { systemClock } from '../src/clock/clock.ts'
import type { Database } from '../src/db/database.ts'
import { createLeaseDigests } from '../src/leases/record/digest.ts'
import { noteLeaseSlots } from '../src/leases/record/slots.ts'
import { createNamedKeys } from '../src/vault/named-keys.ts'
import { createFleet, type Fleet, INSTANCES, organizationName } from './fleet.ts'
import { keysOf } from './keys.ts'
import type { EndedConnection } from './mix.ts'
import { openVault } from './vault.ts'

const GITLAB_COM = '01900000-0000-7000-8000-000000000001'
const ROWS_PER_INSERT = 20_000
const KEYS_PER_INSERT = 2_000
const SECRET = 'f'.repeat(64)
const SEALED_AT_ONCE = 200

export type Simulator = Awaited<ReturnType<typeof startSimulator>>
export type SeededFleet = { fleet: Fleet; ids: string[] }

const mapInTurn = async <Item, Result>(
  items: Item[],
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> => {
  const results: Result[] = []
  for (let from = 0; from < items.length; from += SEALED_AT_ONCE)
    results.push(...(await Promise.all(items.slice(from, from + SEALED_AT_ONCE).map(work))))
  return results
}

const seedInstances = async (db: Database): Promise<Record<keyof typeof INSTANCES, string>> => {
  const ids = { gitlab_com: GITLAB_COM, own_host: uuidv7(), under_path: uuidv7() }
  const now = new Date()
  for (const name of ['own_host', 'under_path'] as const)
    await db
      .insertInto('instances')
      .values({
        id: ids[name],
        base_url: INSTANCES[name],
        name,
        allow_private_network: false,
        ca_certificate: null,
        version: 1,
        created_at: now,
        updated_at: now,
      })
      .execute()
  return ids
}

/** Fills the database with a fleet. Every connection has a token of its own that opens. */
export const seedFleet = async (db: Database, connections: number): Promise<SeededFleet> => {
  const vault = await openVault(db)
  const instances = await seedInstances(db)
  const fleet = createFleet(connections)
  const ids: string[] = []
  for (let from = 0; from < connections; from += ROWS_PER_INSERT) {
    const length = Math.min(ROWS_PER_INSERT, connections - from)
    const numbers = Array.from({ length }, (_, index) => from + index)
    const batch = numbers.map(() => uuidv7())
    const places = numbers.map(fleet.placeOf)
    const tokens = await mapInTurn(batch, (id) =>
      vault.seal(SECRET, { ownerId: id, version: 1, use: 'access' }),
    )
    await sql`
      insert into connections (
        id, organization, instance_id, method, token_kind, group_path, gitlab_user_id, gitlab_username, status, scopes,
        token_version, access_token, token_issued_at, token_expires_at, last_verified_at, created_at, updated_at
      )
      select id, organization, instance_id, 'token', 'personal_access_token', group_path, number::text,
        'user-' || number, 'active', '{read_api,read_repository}', 1, token, now(), now() + interval '300 days', now(),
        now(), now()
      from unnest(
        ${batch}::uuid[], ${numbers}::int[], ${places.map(({ organization }) => organizationName(organization))}::text[],
        ${places.map(({ instance }) => instances[instance])}::uuid[], ${places.map(({ group }) => group)}::text[],
        ${tokens}::text[]
      ) as row (id, number, organization, instance_id, group_path, token)
    `.execute(db)
    ids.push(...batch)
  }
  await seedKeys(db, fleet, ids)
  await spreadBackground(db)
  return { fleet, ids }
}

/** An installation at work does not read all projects and names at once: what is due each day is spread over the day. */
const spreadBackground = async (db: Database): Promise<void> => {
  await sql`
    update connection_syncs set state = 'done', run = 1, synced_to = now(), full_synced_to = now(),
      due_at = now() + random() * interval '1 day'`.execute(db)
  await sql`update connection_places set looked_at = now() - random() * interval '1 day'`.execute(db)
}

const seedKeys = async (db: Database, fleet: Fleet, ids: string[]): Promise<void> => {
  const rows = keysOf(fleet).map(({ key, organizations, urlPrefixes, connections }) => ({
    id: uuidv7(),
    name: 'bench',
    role: 'scanner' as const,
    key_sha256: hashAccessKey(key),
    organizations,
    restricted_url_prefixes: urlPrefixes ?? null,
    restricted_connections: connections?.map((connection) => ids[connection]!) ?? null,
    created_at: new Date(),
    expires_at: null,
  }))
  for (let from = 0; from < rows.length; from += KEYS_PER_INSERT)
    await db
      .insertInto('access_keys')
      .values(rows.slice(from, from + KEYS_PER_INSERT))
      .execute()
}

/** Leases of the last day, all over by now, spread over all connections: the table of a broker at work. */
export const seedLeases = async (db: Database, count: number): Promise<void> => {
  await sql`
    insert into leases (id, connection_id, organization, token_version, access_key_id, granted_at, expires_at)
    select uuidv7(now() - at - now()), id, organization, 1, (select id from access_keys limit 1), now() - at,
      now() - at + interval '300 seconds'
    from (
      select connections.id, organization, interval '1 day' - turn.ordinal * interval '22 hours' / ${count}::int as at
      from (
        select id, organization, row_number() over () as number, count(*) over () as connections from connections
      ) as connections
      cross join lateral (
        select connections.number + (round - 1) * connections.connections as ordinal
        from generate_series(1, ceil(${count}::float8 / connections.connections)::int) as round
      ) as turn
      order by turn.ordinal
      limit ${count}
    ) as past`.execute(db)
  await recordLeases(db)
}

/** The jobs of the day before: the leases of each hour are sealed, and those of each ten minutes noted. */
const recordLeases = async (db: Database): Promise<void> => {
  const vault = await openVault(db)
  const namedKeys = createNamedKeys({ db, vault, clock: systemClock })
  await sealAudit({ db, namedKeys, leaseDigests: createLeaseDigests(db), auditLog: pino({ enabled: false }) })
  await noteLeaseSlots(db)
}

/** A simulated GitLab that answers at once, registered with an OAuth app. */
export const seedSimulator = async (
  db: Database,
  rateLimit?: { requestsPerSecond: number },
): Promise<{ simulator: Simulator; instanceId: string; appId: string }> => {
  const simulator = await startSimulator({ repositories: false, ...(rateLimit && { rateLimit }) })
  const vault = await openVault(db)
  const [instanceId, appId, now] = [uuidv7(), uuidv7(), new Date()]
  const times = { created_at: now, updated_at: now }
  await db
    .insertInto('instances')
    .values({
      ...times,
      id: instanceId,
      base_url: simulator.url,
      name: 'simulator',
      allow_private_network: true,
      ca_certificate: null,
      version: 1,
    })
    .execute()
  await db
    .insertInto('oauth_apps')
    .values({
      ...times,
      id: appId,
      slug: 'simulator',
      instance_id: instanceId,
      client_id: SEEDED_APP.clientId,
      client_secret: await vault.seal(SEEDED_APP.clientSecret, {
        ownerId: appId,
        version: 1,
        use: 'client_secret',
      }),
      scopes: ['read_api', 'read_repository'],
      version: 1,
    })
    .execute()
  return { simulator, instanceId, appId }
}

export type Ended = { ids: string[]; connections: EndedConnection[]; endAgain(): Promise<void> }

/** Longer than from the end of a claim to the end of its lookup. */
const SETTLING_MS = 200

const isRefreshing = async (db: Database, instanceId: string): Promise<boolean> => {
  await sleep(SETTLING_MS)
  const claimed = await db
    .selectFrom('connections')
    .select('id')
    .where('instance_id', '=', instanceId)
    .where('attempt_id', 'is not', null)
    .executeTakeFirst()
  return claimed !== undefined
}

/** Connections at the simulated GitLab whose tokens are out. */
export const seedEnded = async (
  db: Database,
  { simulator, instanceId, appId }: Awaited<ReturnType<typeof seedSimulator>>,
  count: number,
  organizations: number,
): Promise<Ended> => {
  const vault = await openVault(db)
  const rows = await mapInTurn(
    Array.from({ length: count }, (_, number) => number),
    async (number) => {
      const id = uuidv7()
      const { accessToken, refreshToken } = simulator.world.issueOAuthToken({
        username: 'maria',
        clientId: SEEDED_APP.clientId,
        scopes: ['read_api', 'read_repository'],
      })
      const binding = { ownerId: id, version: 1 }
      return {
        id,
        organization: organizationName(number % organizations),
        group: `ended-${number}`,
        access: await vault.seal(accessToken, { ...binding, use: 'access' }),
        refresh: await vault.seal(refreshToken, { ...binding, use: 'refresh' }),
      }
    },
  )
  await sql`
    insert into connections (
      id, organization, instance_id, oauth_app_id, method, token_kind, group_path, gitlab_user_id, status, scopes,
      token_version, access_token, refresh_token, token_issued_at, token_expires_at, created_at, updated_at
    )
    select id, organization, ${instanceId}::uuid, ${appId}::uuid, 'oauth', 'oauth_access_token',
      group_path, group_path, 'active', '{read_api,read_repository}', 1, access, refresh,
      now() - interval '3 hours', now() - interval '1 hour', now(), now()
    from unnest(
      ${rows.map(({ id }) => id)}::uuid[], ${rows.map(({ organization }) => organization)}::text[],
      ${rows.map(({ group }) => group)}::text[],
      ${rows.map(({ access }) => access)}::text[], ${rows.map(({ refresh }) => refresh)}::text[]
    ) as row (id, organization, group_path, access, refresh)
  `.execute(db)
  await spreadBackground(db)
  return {
    ids: rows.map(({ id }) => id),
    connections: rows.map(({ organization, group }) => ({
      url: `${simulator.url}/${group}/project`,
      organization,
    })),
    /** Those refreshed since are out again, and nobody holds a lease on them. What was still asked for is done before. */
    async endAgain() {
      while (await isRefreshing(db, instanceId)) await sleep(SETTLING_MS)
      await sql`
        with ended as (
          update connections set token_issued_at = now() - interval '3 hours',
            token_expires_at = now() - interval '1 hour'
          where instance_id = ${instanceId}::uuid and token_expires_at > now()
          returning id
        )
        update leases set released_at = now()
        from ended
        where leases.connection_id = ended.id and leases.released_at is null and leases.expires_at > now()
      `.execute(db)
    },
  }
}
