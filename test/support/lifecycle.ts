import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { ConnectionRow } from '../../src/db/tables.ts'
import { createInstanceClients } from '../../src/instances/instance-clients.ts'
import { createLogger } from '../../src/log.ts'
import { createOAuthClients } from '../../src/oauth-apps/oauth-clients.ts'
import { createAttempts } from '../../src/token-lifecycle/attempts.ts'
import { createRefresher, type Refresher } from '../../src/token-lifecycle/refresh.ts'
import { createSpool } from '../../src/token-lifecycle/spool.ts'
import { createTokenSaver } from '../../src/token-lifecycle/token-saver.ts'
import { openKeyRing } from '../../src/vault/key-ring.ts'
import { createVault } from '../../src/vault/vault.ts'
import { createForecast } from '../../src/weather/forecast.ts'
import { type Answer, connectByOAuth, MASTER_KEY, type Stage } from './broker.ts'

/** The refresh at GitLab, for a fault to match or the log to count. */
export const REFRESH = { path: '/oauth/token', grantType: 'refresh_token' }
/** Past the half of a token's two hours: the next lookup refreshes when nobody holds a lease. */
export const HALF_LIFE = 3_700
export const OUT = 7_300

let organizations = 0

/** A connection of its own for each part of a test: in an organization that nothing else is in. */
export const connect = (stage: Pick<Stage, 'broker'>, username = 'maria'): Promise<string> => {
  organizations += 1
  return connectByOAuth(stage, { organization: `org-${organizations}`, username })
}

export const lookUp = (
  { broker }: Pick<Stage, 'broker'>,
  id: string,
  query: { min_ttl?: number; on_conflict?: 'respect' | 'preempt'; purpose?: string } = {},
  key?: string,
): Promise<Answer> => {
  const search = new URLSearchParams(
    Object.entries(query).map(([name, value]): [string, string] => [name, `${value}`]),
  )
  return broker.get(`/v1/connections/${id}/credential?${search}`, key === undefined ? {} : { key })
}

export const rowOf = ({ broker }: Pick<Stage, 'broker'>, id: string): Promise<ConnectionRow> =>
  broker.db.selectFrom('connections').selectAll().where('id', '=', id).executeTakeFirstOrThrow()

/** Every column that tells of trouble, at rest. */
export const NO_TROUBLE = {
  attempt_id: null,
  attempt_kind: null,
  attempt_deadline: null,
  attempt_sent_at: null,
  retry_after: null,
  unanswered_since: null,
  refused_since: null,
  failing_since: null,
  failure_count: 0,
  failure_code: null,
  failure_detail: null,
}

/** Asks again and again until it is so; what is waited for goes by the real clock. */
export const until = async (isSo: () => boolean | Promise<boolean>): Promise<void> => {
  const limit = performance.now() + 60_000
  while (!(await isSo())) {
    if (performance.now() > limit) throw new Error('What was waited for never came')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** More than any request reads the clock before it waits. */
const READINGS_OF_TWO_LOOKS = 6

/** Until what waits for a change of a row has looked at the row, and has looked again: nothing else may be going on. */
export const untilItWaits = async ({ clock }: Pick<Stage, 'clock'>): Promise<void> => {
  const enough = clock.readings() + READINGS_OF_TWO_LOOKS
  await until(() => clock.readings() >= enough)
}

/** What refreshes in a replica, without the rest of it: a process of its own on the same database. */
export const createReplica = async (
  t: Test,
  { broker, clock }: Pick<Stage, 'broker' | 'clock'>,
  gitlab: { timeoutMs?: number; circuitOpenMs?: number } = {},
): Promise<Refresher> => {
  const { db } = broker
  const { runPrepared } = broker.database
  const logger = createLogger('silent')
  const vault = createVault(await openKeyRing(db, [MASTER_KEY], clock))
  const instanceClients = createInstanceClients({ ...gitlab, clock })
  const oauthClients = createOAuthClients({ vault, clock, instanceClients, publicUrl: broker.url })
  const dataDir = await mkdtemp(join(tmpdir(), 'gtb-replica-'))
  const tokenSaver = createTokenSaver({
    db,
    runPrepared,
    vault,
    clock,
    spool: createSpool(dataDir, vault, logger),
    logger,
    retentionSeconds: 86_400,
  })
  const attempts = createAttempts(logger)
  const history = {
    wentBackAt: () => undefined,
    known: () => undefined,
    suspect: () => undefined,
    requireSettled: () => undefined,
  }
  t.teardown(async () => {
    await attempts.idle()
    await tokenSaver.close()
    await oauthClients.close()
    instanceClients.close()
    await rm(dataDir, { recursive: true, force: true })
  })
  return createRefresher({
    forecast: createForecast({ db, clock, logger }),
    db,
    runPrepared,
    vault,
    clock,
    logger,
    instanceClients,
    oauthClients,
    tokenSaver,
    attempts,
    history,
  })
}
