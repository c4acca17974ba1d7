// The yardsticks: (a) bare Fastify with a static answer, (b) bare Fastify with one prepared select by primary key.
import Fastify from 'fastify'
import pg from 'pg'

const pool = new pg.Pool({
  connectionString: process.env.DATABASE_URL,
  max: Number(process.env.DATABASE_POOL_SIZE ?? 10),
})
const app = Fastify()

app.get('/static', async () => ({ status: 'ok', token_kind: 'oauth_access_token', token_version: 1 }))

app.get<{ Params: { id: string } }>('/select/:id', async (request) => {
  const { rows } = await pool.query({
    name: 'select-connection',
    text: 'select id, organization, token_kind, token_version, access_token, token_expires_at from connections where id = $1',
    values: [request.params.id],
  })
  return rows[0]
})

await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
process.send?.('ready')
process.on('SIGTERM', async () => {
  await app.close()
  await pool.end()
  process.exit(0)
})
