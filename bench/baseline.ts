// The yardsticks: (a) bare Fastify with a static answer, (b) bare Fastify with one prepared select by primary key, (bb)
// the same select, coalesced and pipelined by the broker's own code, (bl) the same, and what each lookup ends with: the
// lease is written, the token opened, a line logged.
import Fastify from 'fastify'
import pg from 'pg'
import { SERVICE_ID } from '../src/callers/principal.ts'
import type { RunPrepared } from '../src/db/database.ts'
import { openDatabase } from '../src/db/open.ts'
import type { LeaseRow } from '../src/leases/lease.ts'
import { newLeaseId } from '../src/leases/lease-id.ts'
import { shareStatements } from '../src/leases/shared-statements.ts'
import { createLogger } from '../src/log.ts'
import { openVault } from './vault.ts'

const databaseUrl = process.env.DATABASE_URL
const poolSize = Number(process.env.DATABASE_POOL_SIZE ?? 10)
const pool = new pg.Pool({ connectionString: databaseUrl, max: poolSize })
const database = openDatabase({ databaseUrl, dataDir: '', poolSize })
const vault = await openVault(database.db)
const logger = createLogger('info')
const app = Fastify()

const COLUMNS = 'id, organization, token_kind, token_version, access_token, token_expires_at'

app.get('/static', async () => ({ status: 'ok', token_kind: 'oauth_access_token', token_version: 1 }))

app.get<{ Params: { id: string } }>('/select/:id', async (request) => {
  const { rows } = await pool.query({
    name: 'select-connection',
    text: `select ${COLUMNS} from connections where id = $1`,
    values: [request.params.id],
  })
  return rows[0]
})

type SelectRequest = { leaseId: string; id: string }

/** Lookups that arrive while a statement is in flight share the next one. */
const share = (name: string, text: string) =>
  shareStatements(
    (run: RunPrepared, requests: SelectRequest[]) =>
      run<LeaseRow>({ name, text }, [
        `{${requests.map(({ leaseId }) => leaseId).join(',')}}`,
        `{${requests.map(({ id }) => id).join(',')}}`,
      ]),
    { runPrepared: database.runPrepared, clock: database.clock.now },
  )

const selectShared = share(
  'select-connections',
  `select lease_id, ${COLUMNS} from unnest($1::text[], $2::uuid[]) as request (lease_id, wanted)
   join connections on connections.id = request.wanted`,
)
let asked = 0

app.get<{ Params: { id: string } }>('/select-shared/:id', async (request) => {
  asked += 1
  return selectShared({ leaseId: String(asked), id: request.params.id })
})

const leaseShared = share(
  'lease-connections',
  `with found as (
     select lease_id, ${COLUMNS} from unnest($1::uuid[], $2::uuid[]) as request (lease_id, wanted)
     join connections on connections.id = request.wanted
   ), lease as (
     insert into leases (id, connection_id, organization, token_version, access_key_id, granted_at, expires_at)
     select lease_id, id, organization, token_version, '${SERVICE_ID}', now(), now() + interval '5 minutes' from found
   )
   select * from found`,
)

app.get<{ Params: { id: string } }>('/lease/:id', async (request, reply) => {
  const { id } = request.params
  const row = await leaseShared({ leaseId: newLeaseId(), id })
  if (!row?.access_token) throw new Error('No such connection')
  const token = await vault.open(row.access_token, {
    ownerId: id,
    version: row.token_version,
    use: 'access',
  })
  logger.info({ request_id: request.id, route: '/lease/:id', status: reply.statusCode }, 'request')
  return { ...row, access_token: token }
})

await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
process.on('SIGTERM', async () => {
  await app.close()
  await Promise.all([pool.end(), database.close()])
  process.exit(0)
})
