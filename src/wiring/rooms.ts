import { join } from 'node:path'
import type { Logger } from 'pino'
import { createAccessKeyIdentification } from '../access-keys/identify.ts'
import { createRefusals } from '../audit/refusals.ts'
import { createAuthenticator } from '../callers/authenticator.ts'
import type { Clock } from '../clock/clock.ts'
import type { Config } from '../config/config.ts'
import type { LimitSettings } from '../config/limits.ts'
import type { EnvironmentProxy } from '../config/proxy.ts'
import { createVisitors } from '../connect-page/visit/visitor.ts'
import type { Database, RunPrepared } from '../db/database.ts'
import type { ProbedDatabase } from '../db/probe.ts'
import type { GitLabClientOptions } from '../gitlab/http-client.ts'
import type { ProcessState } from '../http/readiness.ts'
import type { GitLabAccess } from '../instances/gitlab-access.ts'
import { createInstanceClients } from '../instances/instance-clients.ts'
import { createBorrower } from '../leases/borrowed/borrow.ts'
import type { LeaseDeps } from '../leases/lease-token.ts'
import { createOpenedTokens } from '../leases/opened-tokens.ts'
import { createRejections } from '../leases/reject-lease.ts'
import { createCredentialSender } from '../leases/sealed-delivery.ts'
import { createLeasesById } from '../leases/shared-statements.ts'
import { createFindBest } from '../lookup/best/find-best.ts'
import { createDirectories } from '../lookup/directories.ts'
import { createLeaseByMatch } from '../lookup/leasing/lease-by-match.ts'
import { createLocator } from '../lookup/locate.ts'
import { createReachLearner } from '../lookup/reach/learn-reach.ts'
import { learnRefusal } from '../lookup/reach/learn-refusal.ts'
import { createRateBudgets } from '../lookup/reach/rate-budgets.ts'
import { createOAuthClients, type OAuthClients } from '../oauth-apps/oauth-clients.ts'
import { createDeviceTimers } from '../oauth-flow/device/device-timers.ts'
import { createSyncs } from '../projects/sync/syncs.ts'
import { createAttempts } from '../token-lifecycle/attempts.ts'
import { createDatabaseHistory, type DatabaseHistory } from '../token-lifecycle/history/watch-history.ts'
import { createRefresher } from '../token-lifecycle/refresh.ts'
import { createSpool } from '../token-lifecycle/spool.ts'
import { createTokenSaver } from '../token-lifecycle/token-saver.ts'
import { createStoredTokenVerifier } from '../token-lifecycle/verify-stored-token.ts'
import { createWorkloadIdentification } from '../trusted-issuers/identify.ts'
import { createIssuerKeySets } from '../trusted-issuers/key-set.ts'
import { followDataKeys } from '../vault/follow.ts'
import type { KeyRing } from '../vault/key-ring.ts'
import { createNamedKeys } from '../vault/named-keys.ts'
import { createVault } from '../vault/vault.ts'
import { createForecast, type Forecast } from '../weather/forecast.ts'

export type AppDeps = {
  db: Database
  runPrepared: RunPrepared
  /** The database whose readiness is told and whose outages are logged; nobody asks when it is only described. */
  probed?: ProbedDatabase
  /** Of the process, as start.ts changes it. */
  state?: ProcessState
  keyRing: KeyRing
  /** The current one first: for data keys that are made while it runs. */
  masterKeys: () => Uint8Array[]
  clock: Clock
  logger: Logger
  config: Pick<
    Config,
    | 'publicUrl'
    | 'allowedHosts'
    | 'returnOrigins'
    | 'syncProjects'
    | 'unregisteredInstances'
    | 'trustProxy'
    | 'dataDir'
    | 'leaseRetentionDays'
    | 'auditRetentionDays'
    | 'dataKeyMaxAgeDays'
    | 'spoolRetentionHours'
  > & {
    /** The defaults when left out. */
    limits?: LimitSettings
    /** None when left out. */
    proxy?: EnvironmentProxy | undefined
  }
  /** How patient to be with GitLab; the defaults are what production has. */
  gitlab?:
    | (Omit<GitLabClientOptions, 'clock'> & {
        secondLookMs?: number | undefined
        syncTurnMs?: number | undefined
      })
    | undefined
}

const HOUR_SECONDS = 3_600

/** The ways in which a caller can be identified. */
const createIdentification = ({ db, clock, logger, config, gitlab }: AppDeps) => {
  const accessKeys = createAccessKeyIdentification(db)
  const keySets = createIssuerKeySets({
    clock,
    logger,
    http: { ...gitlab, environmentProxy: config.proxy, clock },
  })
  const workloads = createWorkloadIdentification({ db, keySets, clock, logger })
  const ways = [accessKeys, workloads]
  const isRemembered = (credential: string) => ways.some((way) => way.remembered(credential) !== undefined)
  return { ways, workloads, isRemembered, keySets }
}

/** What keeps stored tokens alive. */
const createTokenKeeping = (
  access: GitLabAccess,
  oauthClients: OAuthClients,
  forecast: Forecast,
  { runPrepared, logger, config, gitlab, probed }: AppDeps,
) => {
  const { db, vault, clock } = access
  const spoolFolder = join(config.dataDir, 'spool')
  const spool = createSpool(spoolFolder, vault, logger)
  const tokenSaver = createTokenSaver({
    db,
    runPrepared,
    vault,
    clock,
    spool,
    logger,
    retentionSeconds: config.spoolRetentionHours * HOUR_SECONDS,
  })
  const attempts = createAttempts(logger)
  const history = createDatabaseHistory({
    db,
    clock,
    logger,
    folder: spoolFolder,
    lineage: probed?.lineage,
    offerRetained: tokenSaver.offerRetained,
  })
  const refresher = createRefresher({
    ...access,
    runPrepared,
    forecast,
    logger,
    oauthClients,
    tokenSaver,
    attempts,
    history,
  })
  const verifier = createStoredTokenVerifier({
    ...access,
    attempts,
    forecast,
    secondLookMs: gitlab?.secondLookMs,
  })
  return { attempts, history, refresher, spoolFolder, tokenSaver, verifier }
}

/** How URLs find their connections. */
const createFinding = (
  { runPrepared, clock, logger }: AppDeps,
  {
    access,
    leasing,
    forecast,
    history,
  }: { access: GitLabAccess; leasing: LeaseDeps; forecast: Forecast; history: DatabaseHistory },
) => {
  const budgets = createRateBudgets(access.instanceClients)
  return {
    runPrepared,
    locator: createLocator({ runPrepared }),
    directories: createDirectories({ runPrepared }),
    leaseByMatch: createLeaseByMatch({ runPrepared, clock, history }),
    findBest: createFindBest({ runPrepared, clock, history }, budgets),
    reach: createReachLearner({ ...access, ...leasing, budget: forecast.budget, budgets, logger }),
  }
}

/** How what connections reach is read. */
const createReading = (
  { gitlab, config }: AppDeps,
  deps: Omit<Parameters<typeof createSyncs>[0], 'isOn' | 'syncTurnMs'>,
) => createSyncs({ ...deps, ...gitlab, isOn: config.syncProjects === 'on' })

/** Every room once, each dependency an argument that can be followed from here. */
export const createRooms = (deps: AppDeps) => {
  const { db, runPrepared, keyRing, clock, logger, config, gitlab } = deps
  const { publicUrl } = config
  const { ways, workloads, isRemembered, keySets } = createIdentification(deps)
  const refusals = createRefusals({ db, clock, logger })
  const namedKeys = createNamedKeys({ db, vault: createVault(keyRing), clock })
  const vault = createVault(keyRing, { tokenHash: namedKeys.tokenHash, onDamaged: refusals.noteDamage })
  const stopFollowing = followDataKeys(keyRing, logger)
  const authenticator = createAuthenticator({ clock, ways })
  const forecast = createForecast({ db, clock, logger })
  const instanceClients = createInstanceClients({
    onRefusal: forecast.onRefusal,
    onBan: forecast.onBan,
    ...gitlab,
    environmentProxy: config.proxy,
    clock,
    logger,
    unregistered: config.unregisteredInstances,
  })
  const access = { db, vault, clock, instanceClients }
  const oauthClients = createOAuthClients({ vault, clock, instanceClients, publicUrl })
  const keeping = createTokenKeeping(access, oauthClients, forecast, deps)
  const { attempts, history, refresher, spoolFolder, tokenSaver, verifier } = keeping
  const lifecycle = { ...access, ...keeping, forecast, logger, authenticator }
  const flow = { ...access, attempts, oauthClients, logger }
  const deviceTimers = createDeviceTimers(flow)
  const visitors = createVisitors({ ...access, publicUrl })
  const leasing = {
    clock,
    refresher,
    verifier,
    leasesById: createLeasesById({ runPrepared, clock, history }),
    openedTokens: createOpenedTokens(vault, history),
  }
  const finding = { ...leasing, ...createFinding(deps, { access, leasing, forecast, history }) }
  const rejections = createRejections({
    ...leasing,
    db,
    learnRefusal: (principal, refused) => learnRefusal(finding, principal, refused),
  })
  const syncs = createReading(deps, { ...lifecycle, borrower: createBorrower({ ...leasing, db }) })

  /** In this order: what is under way needs what comes after it. */
  const close = async (): Promise<void> => {
    stopFollowing()
    await deviceTimers.close()
    await attempts.idle()
    await history.close()
    await tokenSaver.close()
    await oauthClients.close()
    instanceClients.close()
    await forecast.idle()
    keySets.close()
    await refusals.close()
  }
  return {
    access,
    attempts,
    authenticator,
    close,
    deviceTimers,
    finding,
    flow,
    forecast,
    history,
    isRemembered,
    leasing,
    lifecycle,
    namedKeys,
    refusals,
    rejections,
    sendCredential: createCredentialSender({ db, clock }),
    spoolFolder,
    syncs,
    tokenSaver,
    vault,
    visitors,
    workloads,
  }
}

export type Rooms = ReturnType<typeof createRooms>
