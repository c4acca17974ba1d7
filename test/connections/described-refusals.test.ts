import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { KNOWN_GITLAB_REFUSALS, REFUSAL_CODES } from '../../src/gitlab/refusal.ts'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'

type Operation = {
  operationId: string
  responses: Record<string, { content?: Record<string, { examples?: object }> }>
}

const PASS_ON: Record<string, readonly string[]> = {
  connectPersonalAccessToken: REFUSAL_CODES,
  connectOAuthToken: REFUSAL_CODES,
  replaceConnectionToken: REFUSAL_CODES,
  rotateConnection: KNOWN_GITLAB_REFUSALS,
}

t.test('an operation that passes on why GitLab refuses describes each of these problems', async (t) => {
  const { paths } = parse(await readFile(join(import.meta.dirname, '../../openapi.yaml'), 'utf8')) as {
    paths: Record<string, Record<string, Operation>>
  }
  const operations = Object.values(paths).flatMap((methods) => Object.values(methods))
  for (const [name, codes] of Object.entries(PASS_ON)) {
    const operation = operations.find(({ operationId }) => operationId === name)
    const described = Object.values(operation?.responses ?? {}).flatMap(({ content = {} }) =>
      Object.values(content).flatMap(({ examples = {} }) => Object.keys(examples)),
    )
    for (const code of codes) t.ok(described.includes(code), `${name}: ${code}`)
  }
})

t.test('a rotation at an address that is not allowed any more says so, and loses nothing', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  const { id, token } = await connectToken(stage, { scopes: ['read_repository', 'self_rotate'] })
  const [{ id: instance }] = (await broker.get('/v1/instances?limit=100')).body.items.filter(
    ({ base_url }: { base_url: string }) => base_url === simulator.url,
  )
  const allow = (allow_private_network: boolean) =>
    broker.request('PATCH', `/v1/instances/${instance}`, { body: { allow_private_network } })
  t.equal((await allow(false)).status, 200)
  const refused = await broker.post(`/v1/connections/${id}/rotate`)
  t.match(refused, { status: 422, body: { code: 'address_not_allowed' } })
  t.equal((await allow(true)).status, 200)
  t.equal(simulator.world.tokenState(token), 'active')
  t.match(await broker.post(`/v1/connections/${id}/rotate`), { status: 200, body: { token_version: 2 } })
})
