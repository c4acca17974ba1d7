// The yardsticks: (a) bare Fastify with a static answer, (b) bare Fastify with one prepared select by primary key, (bb)
// the same select, coalesced and pipelined by the broker's own code.
import Fastify from 'fastify'
import pg from 'pg'
import type { RunPrepared } from '../src/db/database.ts'
import { openDatabase } from '../src/db/open.ts'
import type { LeaseRow } from '../src/leases/lease.ts'
import { shareStatements } from '../src/leases/shared-statements.ts'

const databaseUrl = process.env.DATABASE_URL
const poolSize = Number(process.env.DATABASE_POOL_SIZE ?? 10)
const pool = new pg.Pool({ connectionString: databaseUrl, max: poolSize })
const database = openDatabase({ databaseUrl, dataDir: '', poolSize })
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

const selectAll = async (run: RunPrepared, requests: SelectRequest[]): Promise<LeaseRow[]> =>
  run<LeaseRow>(
    {
      name: 'select-connections',
      text: `select lease_id, ${COLUMNS} from unnest($1::text[], $2::uuid[]) as request (lease_id, wanted)
        join connections on connections.id = request.wanted`,
    },
    [`{${requests.map(({ leaseId }) => leaseId).join(',')}}`, `{${requests.map(({ id }) => id).join(',')}}`],
  )

const selectShared = shareStatements(selectAll, {
  runPrepared: database.runPrepared,
  clock: database.clock.now,
})
let asked = 0

app.get<{ Params: { id: string } }>('/select-shared/:id', async (request) => {
  asked += 1
  return selectShared({ leaseId: String(asked), id: request.params.id })
})

await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
process.on('SIGTERM', async () => {
  await app.close()
  await Promise.all([pool.end(), database.close()])
  process.exit(0)
})
