import { join } from 'node:path'
import cookie from '@fastify/cookie'
import formbody from '@fastify/formbody'
import type { Logger } from 'pino'
import { createAccessKeyIdentification } from './access-keys/identify.ts'
import { registerAccessKeyRoutes } from './access-keys/routes.ts'
import { registerWhoamiRoute } from './access-keys/whoami-route.ts'
import { noteRefusals } from './audit/note-refusals.ts'
import { createRefusals } from './audit/refusals.ts'
import { registerAuditRoutes } from './audit/routes.ts'
import { deleteOld as deleteOldAudit } from './audit/seals/delete-old.ts'
import { sealAudit } from './audit/seals/seal-audit.ts'
import { createAuthenticator } from './callers/authenticator.ts'
import { addSeconds, type Clock } from './clock/clock.ts'
import type { Config } from './config/config.ts'
import { DEFAULT_LIMITS, type LimitSettings } from './config/limits.ts'
import { registerConnectPage } from './connect-page/routes.ts'
import { linkOpener } from './connect-page/visit/open-link.ts'
import { createVisitors } from './connect-page/visit/visitor.ts'
import { deleteOld as deleteOldSessions } from './connect-sessions/delete-old.ts'
import { registerConnectSessionRoutes } from './connect-sessions/routes.ts'
import { registerConnectRoutes } from './connections/connect-routes.ts'
import { registerConnectionRoutes } from './connections/routes.ts'
import { registerTokenRoutes } from './connections/token-routes.ts'
import type { Database, RunPrepared } from './db/database.ts'
import type { ProbedDatabase } from './db/probe.ts'
import { Problem } from './errors/problem.ts'
import type { GitLabClientOptions } from './gitlab/http-client.ts'
import { registerApiDocs } from './http/api-docs.ts'
import { lookAtReadiness } from './http/look-at-readiness.ts'
import { shedLoad } from './http/pressure.ts'
import { createProcessState, type ProcessState } from './http/readiness.ts'
import { type App, createServer } from './http/server.ts'
import { registerServiceRoutes } from './http/service-routes.ts'
import { limitSockets } from './http/sockets.ts'
import { createInstanceClients } from './instances/instance-clients.ts'
import { registerInstanceRoutes } from './instances/routes.ts'
import { createJobs, type Jobs } from './jobs/jobs.ts'
import { createLanes } from './lanes.ts'
import { deleteOld as deleteOldLeases } from './leases/delete-old.ts'
import { createOpenedTokens } from './leases/opened-tokens.ts'
import { createLeaseDigests } from './leases/record/digest.ts'
import { registerLeaseRecordRoutes } from './leases/record/routes.ts'
import { noteLeaseSlots } from './leases/record/slots.ts'
import { registerLeaseRoutes } from './leases/routes.ts'
import { createCredentialSender } from './leases/sealed-delivery.ts'
import { createLeasesById } from './leases/shared-statements.ts'
import { deleteOld as deleteOldGuesses } from './limits/delete-old.ts'
import { registerLimits } from './limits/limits.ts'
import { createAuditLog } from './log.ts'
import { createKnownMatches } from './lookup/known-matches.ts'
import { createLeasesByUrl } from './lookup/leasing/leases-by-url.ts'
import { registerLookupRoutes } from './lookup/routes.ts'
import { createSearchReader } from './lookup/search.ts'
import { registerOAuthMetadata, registerTokenExchange } from './lookup/token-exchange-routes.ts'
import { createOAuthClients } from './oauth-apps/oauth-clients.ts'
import { registerOAuthAppRoutes } from './oauth-apps/routes.ts'
import { completeDue } from './oauth-flow/complete-due.ts'
import { createOAuthFlow } from './oauth-flow/oauth-flow.ts'
import { registerOAuthFlowRoutes } from './oauth-flow/routes.ts'
import { sealedTables } from './sealed-tables.ts'
import { createAttempts } from './token-lifecycle/attempts.ts'
import { deleteHeartbeatsBefore } from './token-lifecycle/history/queries.ts'
import {
  createDatabaseHistory,
  type DatabaseHistory,
  HEARTBEAT_RETENTION_SECONDS,
} from './token-lifecycle/history/watch-history.ts'
import { createRefresher } from './token-lifecycle/refresh.ts'
import { createSpool } from './token-lifecycle/spool.ts'
import { createTokenSaver } from './token-lifecycle/token-saver.ts'
import { mendDue, rotateDue } from './token-lifecycle/upkeep/upkeep.ts'
import { createStoredTokenVerifier } from './token-lifecycle/verify-stored-token.ts'
import { createWorkloadIdentification } from './trusted-issuers/identify.ts'
import { createIssuerKeySets } from './trusted-issuers/key-set.ts'
import { registerTrustedIssuerRoutes } from './trusted-issuers/routes.ts'
import { followDataKeys, renewDataKey } from './vault/follow.ts'
import type { KeyRing } from './vault/key-ring.ts'
import { createNamedKeys } from './vault/named-keys.ts'
import { createVault } from './vault/vault.ts'

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
  }
  /** How patient to be with GitLab; the defaults are what production has. */
  gitlab?: Omit<GitLabClientOptions, 'clock'> | undefined
}

/** The whole application, not yet listening. */
export type WiredApp = {
  app: App
  jobs: Jobs
  /** Saves what an earlier process had to leave behind: to be awaited before the first request. */
  takeUpSpool(): Promise<number>
  history: DatabaseHistory
}

/** How many items of background work are under way at once. */
const JOB_LANES = 8

const START_RETRY_SECONDS = 2

const refuseWhileStarting = ({ waitingFor }: ProcessState): Problem | undefined =>
  waitingFor === undefined
    ? undefined
    : new Problem('database_unavailable', 'The service is starting: it waits for its database.', {
        retryAfterSeconds: START_RETRY_SECONDS,
      })

const refuseProbe = (): never => {
  throw new Error('There is no database to look at')
}

/** Wires every room once: each dependency is an argument that can be followed from here. */
export const createApp = async ({
  db,
  runPrepared,
  probed,
  state = createProcessState(),
  keyRing,
  masterKeys,
  clock,
  logger,
  config,
  gitlab,
}: AppDeps): Promise<WiredApp> => {
  const { publicUrl, allowedHosts, returnOrigins, trustProxy, dataDir, limits = DEFAULT_LIMITS } = config
  const app = createServer({
    logger,
    trustProxy,
    publicUrl,
    allowedHosts,
    isDraining: () => state.draining,
  })
  limitSockets(app.server, { ...limits, trustProxy })
  await shedLoad(app, limits.lateMs)
  const accessKeys = createAccessKeyIdentification(db)
  const keySets = createIssuerKeySets({ clock, logger, http: { ...gitlab, clock } })
  const workloads = createWorkloadIdentification({ db, keySets, clock, logger })
  const ways = [accessKeys, workloads]
  const isRemembered = (credential: string) => ways.some((way) => way.remembered(credential) !== undefined)
  await registerLimits(app, { db, clock, settings: limits, isRemembered })
  await registerApiDocs(app, publicUrl)

  const refusals = createRefusals({ db, clock, logger })
  const namedKeys = createNamedKeys({ db, vault: createVault(keyRing), clock })
  const vault = createVault(keyRing, { tokenHash: namedKeys.tokenHash, onDamaged: refusals.noteDamage })
  const stopFollowing = followDataKeys(keyRing, logger)
  const authenticator = createAuthenticator({ clock, ways })
  const instanceClients = createInstanceClients({
    ...gitlab,
    clock,
    unregistered: config.unregisteredInstances,
  })
  const access = { db, vault, clock, instanceClients }
  const oauthClients = createOAuthClients({ vault, instanceClients, publicUrl })
  const spoolFolder = join(dataDir, 'spool')
  const spool = createSpool(spoolFolder, vault, logger)
  const tokenSaver = createTokenSaver({
    db,
    vault,
    clock,
    spool,
    logger,
    retentionSeconds: config.spoolRetentionHours * 3_600,
  })
  const attempts = createAttempts(logger)
  const history = createDatabaseHistory({
    db,
    clock,
    logger,
    folder: spoolFolder,
    offerAllRetained: tokenSaver.offerAllRetained,
  })
  const refresher = createRefresher({ ...access, logger, oauthClients, tokenSaver, attempts, history })
  const verifier = createStoredTokenVerifier(access)
  const lifecycle = { ...access, logger, attempts, authenticator, refresher, tokenSaver, verifier }
  const flow = { ...access, oauthClients, logger }
  const visitors = createVisitors({ ...access, publicUrl })
  const leasing = {
    clock,
    refresher,
    verifier,
    leasesById: createLeasesById({ runPrepared, clock }),
    openedTokens: createOpenedTokens(vault),
  }
  const finding = {
    ...leasing,
    runPrepared,
    searchReader: createSearchReader(),
    knownMatches: createKnownMatches({ runPrepared, clock }),
    leasesByUrl: createLeasesByUrl({ runPrepared, clock }),
  }
  const sendCredential = createCredentialSender({ db, clock })
  const jobs = createJobs({
    clock,
    logger,
    lanes: createLanes({ atOnce: JOB_LANES, logger }),
    mendDue: (lanes) => mendDue(lifecycle, lanes),
    rotateDue: (lanes) => rotateDue(lifecycle, lanes),
    completeDue: (lanes) => completeDue(flow, lanes),
    noteLeaseSlots: () => noteLeaseSlots(db),
    sealAudit: () =>
      sealAudit({
        db,
        namedKeys,
        leaseDigests: createLeaseDigests(db),
        auditLog: createAuditLog(logger),
      }),
    renewDataKey: () =>
      renewDataKey({
        db,
        masterKeys: masterKeys(),
        clock,
        keyRing,
        vault,
        logger,
        tables: sealedTables(db),
        maxAgeDays: config.dataKeyMaxAgeDays,
      }),
    deleteOld: [
      () => deleteOldAudit(db, config.auditRetentionDays),
      (now) => deleteOldLeases(db, config.leaseRetentionDays, now),
      (now) => deleteOldSessions(db, now),
      () => tokenSaver.deleteOldRetained(),
      (now) => deleteHeartbeatsBefore(db, addSeconds(now, -HEARTBEAT_RETENTION_SECONDS)),
      (now) => deleteOldGuesses(db, now),
    ],
  })

  app.register(async (routes) => {
    routes.addHook('onRequest', (_request, _reply, done) => done(refuseWhileStarting(state)))
    noteRefusals(routes as App, refusals)
    registerInstanceRoutes(routes as App, { db, clock, authenticator })
    registerOAuthAppRoutes(routes as App, { db, clock, vault, publicUrl, authenticator })
    registerAccessKeyRoutes(routes as App, { db, clock, authenticator })
    registerWhoamiRoute(routes as App, { authenticator })
    registerTrustedIssuerRoutes(routes as App, { db, clock, authenticator })
    registerConnectSessionRoutes(routes as App, { db, clock, authenticator, publicUrl, returnOrigins })
    registerConnectionRoutes(routes as App, lifecycle)
    registerConnectRoutes(routes as App, { ...access, authenticator })
    registerTokenRoutes(routes as App, lifecycle)
    registerLeaseRoutes(routes as App, { ...leasing, db, authenticator, sendCredential })
    registerLookupRoutes(routes as App, { ...finding, authenticator, sendCredential })
    await routes.register((scope) => registerTokenExchange(scope as App, { ...finding, workloads }))
    registerOAuthMetadata(routes as App, { publicUrl })
    registerAuditRoutes(routes as App, { db, authenticator })
    registerLeaseRecordRoutes(routes as App, { db, clock, vault, namedKeys, publicUrl, authenticator })
    await routes.register(async (browser) => {
      await browser.register(cookie)
      await browser.register(formbody)
      registerOAuthFlowRoutes(browser as App, {
        ...flow,
        publicUrl,
        openLink: linkOpener({ ...access, visitors }),
      })
      await browser.register((page) =>
        registerConnectPage(page as App, {
          ...lifecycle,
          publicUrl,
          refusals,
          visitors,
          oauthFlow: createOAuthFlow(flow),
        }),
      )
    })
  })
  app.register(async (service) =>
    registerServiceRoutes(service as App, {
      readiness: () =>
        lookAtReadiness({
          database: probed ?? refuseProbe(),
          state,
          spoolFolder,
          wentBackAt: history.wentBackAt(),
        }),
    }),
  )

  app.addHook('onClose', async () => {
    stopFollowing()
    await jobs.stop()
    await attempts.idle()
    await tokenSaver.close()
    await oauthClients.close()
    instanceClients.close()
    keySets.close()
    await refusals.close()
  })
  return { app, jobs, takeUpSpool: tokenSaver.takeUpSpool, history }
}
