import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { v7 as uuidv7 } from 'uuid'
import { createLeasesById } from '../../src/leases/shared-statements.ts'
import { claimIf } from '../../src/token-lifecycle/claim.ts'
import { NO_ATTEMPT } from '../../src/token-lifecycle/queries.ts'
import { decideRefresh } from '../../src/token-lifecycle/refresh-decision.ts'
import { createRandom } from '../chaos/random.ts'
import { type Answer, type Stage, setStage, startTestBroker } from '../support/broker.ts'
import { connect, lookUp, REFRESH, until } from '../support/lifecycle.ts'

const served = (version: number) => ({ status: 200, body: { token_version: version } })
/** Of the pauses before each of those who race. */
const SEED = 20_261_126
const IN_USE = { status: 409, body: { code: 'token_in_use' } }

const release = async ({ broker }: Pick<Stage, 'broker'>, ...answers: Answer[]): Promise<void> => {
  for (const { body } of answers) await broker.request('DELETE', `/v1/leases/${body.lease_id}`)
}

t.test('a lease', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator, clock } = stage
  const tokenState = ({ body }: Answer) => simulator.world.tokenState(body.token)

  t.test(
    'is no reason to refresh, nor is its absence, in the first half of the life of a token',
    async (t) => {
      const id = await connect(stage)
      simulator.requests.clear()
      clock.advance(3_599)
      t.match(await lookUp(stage, id), served(1))
      t.equal(simulator.requests.count(), 0)
    },
  )

  t.test(
    'that nobody holds makes a refresh free: past half its life a token is replaced early',
    async (t) => {
      const id = await connect(stage)
      clock.advance(3_600)
      t.match(await lookUp(stage, id), served(2))
    },
  )

  t.test('that somebody holds puts that off, until it is released', async (t) => {
    const id = await connect(stage)
    clock.advance(3_500)
    const first = await lookUp(stage, id)
    clock.advance(200)
    const second = await lookUp(stage, id)
    t.match([first, second], [served(1), served(1)])
    await release(stage, first)
    const third = await lookUp(stage, id)
    t.match(third, served(1), 'the second is still held')
    await release(stage, second, third)
    t.match(await lookUp(stage, id), served(2))
    t.equal(tokenState(first), 'revoked', 'which kills the old one at once')
  })

  t.test('puts it off until it ends, when it is never released', async (t) => {
    const id = await connect(stage)
    clock.advance(3_500)
    t.match(await lookUp(stage, id, { min_ttl: 400 }), served(1))
    clock.advance(399)
    t.match(await lookUp(stage, id, { min_ttl: 1 }), served(1))
    clock.advance(1)
    t.match(await lookUp(stage, id), served(2))
  })

  t.test('is shared by a lookup without min_ttl while the token lives a minute', async (t) => {
    const id = await connect(stage)
    const long = await lookUp(stage, id, { min_ttl: 7_150 })
    clock.advance(7_000)
    const shared = await lookUp(stage, id)
    t.match(shared, served(1))
    t.equal(shared.body.expires_in, 200)
    clock.advance(141)
    const refused = await lookUp(stage, id)
    t.match(
      refused,
      {
        ...IN_USE,
        body: { leased_until: new Date(clock() + 59_000).toISOString() },
      },
      'the shared lease goes until the end of the token',
    )
    t.equal(refused.headers.get('retry-after'), '59')
    t.equal(tokenState(long), 'active')
    await release(stage, shared)
    t.match(await lookUp(stage, id), {
      ...IN_USE,
      body: { leased_until: new Date(clock() + 9_000).toISOString() },
    })
    await release(stage, long)
    t.match(await lookUp(stage, id), served(2))
  })

  t.test('stands in the way of an explicit min_ttl: 409 says until when', async (t) => {
    const id = await connect(stage)
    const held = await lookUp(stage, id, { min_ttl: 5_000 })
    clock.advance(4_000)
    const wish = { min_ttl: 3_600 }
    const refused = await lookUp(stage, id, wish)
    t.match(refused, { ...IN_USE, body: { leased_until: new Date(clock() + 1_000_000).toISOString() } })
    t.equal(refused.headers.get('retry-after'), '1000')
    t.match(await lookUp(stage, id, { min_ttl: 3_000 }), served(1), 'what the token can give is given')
    t.equal(tokenState(held), 'active')
  })

  t.test('is broken by on_conflict=preempt, and by no less', async (t) => {
    const id = await connect(stage)
    const held = await lookUp(stage, id, { min_ttl: 7_000 })
    clock.advance(4_000)
    const gentle = await lookUp(stage, id, { on_conflict: 'preempt' })
    t.match(gentle, served(1), 'where the token at hand will do, nothing is broken')
    simulator.requests.clear()
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => lookUp(stage, id, { min_ttl: 6_000, on_conflict: 'preempt' })),
    )
    for (const answer of answers) t.match(answer, served(2))
    t.equal(simulator.requests.count(REFRESH), 1)
    t.equal(tokenState(held), 'revoked')
    await release(stage, ...answers)
    clock.advance(2_000)
    t.match(
      await lookUp(stage, id, { min_ttl: 6_000 }),
      served(3),
      'leases on a token that is gone protect nothing',
    )
  })

  t.test(
    'for longer than GitLab lets a token live is refused, and no token is refreshed for it',
    async (t) => {
      const id = await connect(stage)
      clock.advance(7_000)
      simulator.requests.clear()
      const refused = await lookUp(stage, id, { min_ttl: 7_201, on_conflict: 'preempt' })
      t.match(refused, { status: 422, body: { code: 'min_ttl_unattainable', connection_id: id } })
      t.equal(simulator.requests.count(), 0)
      t.match(await lookUp(stage, id, { min_ttl: 7_200 }), served(2), 'as long as it does can be had')
      const leases = await broker.db
        .selectFrom('leases')
        .select('id')
        .where('connection_id', '=', id)
        .execute()
      t.equal(leases.length, 1)
    },
  )
})

t.test('where tokens live for a short time', async (t) => {
  const stage = await setStage(t, { simulator: { accessTokenLifetimeSeconds: 90 } })
  const { clock } = stage
  const id = await connect(stage)

  t.test('a lookup without min_ttl is content with half of it', async (t) => {
    const first = await lookUp(stage, id)
    t.match(first, { status: 200, body: { token_version: 1, expires_in: 90 } })
    clock.advance(44)
    t.match(await lookUp(stage, id), { status: 200, body: { token_version: 1, expires_in: 46 } })
    clock.advance(1)
    const refused = await lookUp(stage, id)
    t.match(refused, IN_USE)
    t.equal(refused.headers.get('retry-after'), '45')
    clock.advance(45)
    t.match(await lookUp(stage, id), { status: 200, body: { token_version: 2, expires_in: 90 } })
  })

  t.test('an explicit one is served as far as it goes', async (t) => {
    t.match(await lookUp(stage, id, { min_ttl: 80 }), served(2))
    t.match(
      await lookUp(stage, id, { min_ttl: 90 }),
      IN_USE,
      'as fresh as it is, it is not younger than that',
    )
    t.match(await lookUp(stage, id, { min_ttl: 91 }), { status: 422, body: { code: 'min_ttl_unattainable' } })
  })
})

t.test('a lookup and a claim that race: never a lease on a token that is being replaced', async (t) => {
  const stage = await setStage(t)
  const { broker, clock } = stage
  const { db, runPrepared } = broker.database
  const id = await connect(stage)
  const { id: accessKeyId } = await db.selectFrom('access_keys').select('id').executeTakeFirstOrThrow()
  const lookups = Array.from({ length: 4 }, () => createLeasesById({ runPrepared, clock }))
  const random = createRandom(SEED)
  const outcomes = { claimed: 0, leased: 0 }
  /** Whoever has won more often waits longer: on any machine the two meet. */
  const soon = (wins: number, other: number) =>
    new Promise((resolve) => setTimeout(resolve, random.between(0, 4) + Math.max(0, wins - other)))

  for (let round = 0; round < 150; round += 1) {
    await db.updateTable('connections').set(NO_ATTEMPT).where('id', '=', id).execute()
    await db.deleteFrom('leases').where('connection_id', '=', id).execute()
    const claiming = soon(outcomes.claimed, outcomes.leased).then(() =>
      claimIf({ db, clock }, id, 'refresh', ({ row, leasedUntil, now }) => {
        const state = { ...row, refreshable: true, leasedUntil }
        const request = { knownVersion: row.token_version, onConflict: 'respect' as const }
        return decideRefresh(state, request, now).action === 'claim' ? 'claim' : 'left alone'
      }),
    )
    const leasing = lookups.map(async (leasesById) => {
      await soon(outcomes.leased, outcomes.claimed)
      const conditions = {
        minRemaining: 300,
        leaseSeconds: 300,
        acceptPastHalfLife: true,
        subject: null,
        purpose: null,
      }
      const row = await leasesById.lease({ leaseId: uuidv7(), connectionId: id, accessKeyId, ...conditions })
      return typeof row?.access_token === 'string'
    })
    const [claimed, ...leased] = await Promise.all([claiming, ...leasing])
    const wasClaimed = claimed !== undefined && 'claim' in claimed
    const leases = leased.filter(Boolean).length
    if (wasClaimed && leases > 0) t.fail(`round ${round}: claimed, and ${leases} leases given`)
    if (!wasClaimed && leases === 0) t.fail(`round ${round}: neither claimed nor leased`)
    outcomes[wasClaimed ? 'claimed' : 'leased'] += 1
  }
  t.ok(outcomes.claimed > 5 && outcomes.leased > 5, `both win at times: ${JSON.stringify(outcomes)}`)
})

t.test('a clone that takes longer than the token had left finishes, whoever else looks it up', async (t) => {
  const stage = await setStage(t, { simulator: { repositories: true } })
  const { broker, simulator, clock } = stage
  const second = { broker: await startTestBroker(t, { database: broker.database, clock }) }
  const id = await connect(stage)
  clock.advance(6_200)
  const { body } = await lookUp(stage, id, { min_ttl: 5_000 })
  t.equal(body.token_version, 2, 'a thousand seconds would not have been enough')

  const { promise, resolve } = Promise.withResolvers<void>()
  const slow = simulator.faults.add({
    match: { path: /git-upload-pack$/ },
    effect: { kind: 'hold', until: promise },
  })
  const folder = await mkdtemp(join(tmpdir(), 'gtb-clone-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const basic = Buffer.from(`${body.git.username}:${body.git.password}`).toString('base64')
  const clone = spawn(
    'git',
    ['clone', '--quiet', `${simulator.url}/acme/web-shop.git`, join(folder, 'clone')],
    {
      env: {
        PATH: process.env.PATH,
        GIT_TERMINAL_PROMPT: '0',
        GIT_CONFIG_NOSYSTEM: '1',
        HOME: folder,
        GIT_CONFIG_COUNT: '1',
        GIT_CONFIG_KEY_0: 'http.extraHeader',
        GIT_CONFIG_VALUE_0: `Authorization: Basic ${basic}`,
      },
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  )
  const ended = once(clone, 'close')
  await until(() => slow.fired() > 0)

  clock.advance(4_900)
  const others = await Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      lookUp(index % 2 ? stage : second, id, index % 4 < 2 ? {} : { min_ttl: 6_000 }),
    ),
  )
  t.same(others.map(({ status }) => status).sort(), [...Array(10).fill(200), ...Array(10).fill(409)])
  for (const { body: other } of others) t.equal(other.token ?? body.token, body.token)
  clock.advance(99)
  resolve()
  const [code] = await ended
  t.equal(code, 0)
  t.match(await readFile(join(folder, 'clone/README.md'), 'utf8'), /web-shop/)
})
