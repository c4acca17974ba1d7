import { join } from 'node:path'
import cookie from '@fastify/cookie'
import type { Logger } from 'pino'
import { createAccessKeyIdentification } from './access-keys/identify.ts'
import { registerAccessKeyRoutes } from './access-keys/routes.ts'
import { noteRefusals } from './audit/note-refusals.ts'
import { createRefusals } from './audit/refusals.ts'
import { registerAuditRoutes } from './audit/routes.ts'
import { deleteOld as deleteOldAudit } from './audit/seals/delete-old.ts'
import { sealAudit } from './audit/seals/seal-audit.ts'
import { createAuthenticator } from './callers/authenticator.ts'
import type { Clock } from './clock/clock.ts'
import type { Config } from './config/config.ts'
import { registerConnectPage } from './connect-page/routes.ts'
import { deleteOld as deleteOldSessions } from './connect-sessions/delete-old.ts'
import { registerConnectSessionRoutes } from './connect-sessions/routes.ts'
import { registerConnectRoutes } from './connections/connect-routes.ts'
import { registerConnectionRoutes } from './connections/routes.ts'
import { registerTokenRoutes } from './connections/token-routes.ts'
import { type Database, isDatabaseReady, type RunPrepared } from './db/database.ts'
import type { GitLabClientOptions } from './gitlab/http-client.ts'
import { registerApiDocs } from './http/api-docs.ts'
import { type App, createServer } from './http/server.ts'
import { registerServiceRoutes } from './http/service-routes.ts'
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
import { createLeasesById } from './leases/shared-statements.ts'
import { createAuditLog } from './log.ts'
import { createKnownMatches } from './lookup/known-matches.ts'
import { createLeasesByUrl } from './lookup/leasing/leases-by-url.ts'
import { registerLookupRoutes } from './lookup/routes.ts'
import { createSearchReader } from './lookup/search.ts'
import { createOAuthClients } from './oauth-apps/oauth-clients.ts'
import { registerOAuthAppRoutes } from './oauth-apps/routes.ts'
import { completeDue } from './oauth-flow/complete-due.ts'
import { startFlow } from './oauth-flow/flow.ts'
import { registerOAuthFlowRoutes } from './oauth-flow/routes.ts'
import { sealedTables } from './sealed-tables.ts'
import { createRefresher } from './token-lifecycle/refresh.ts'
import { createSpool } from './token-lifecycle/spool.ts'
import { createTokenSaver } from './token-lifecycle/token-saver.ts'
import { mendDue, rotateDue } from './token-lifecycle/upkeep/upkeep.ts'
import { createStoredTokenVerifier } from './token-lifecycle/verify-stored-token.ts'
import { followDataKeys, renewDataKey } from './vault/follow.ts'
import type { KeyRing } from './vault/key-ring.ts'
import { createNamedKeys } from './vault/named-keys.ts'
import { createVault } from './vault/vault.ts'

export type AppDeps = {
  db: Database
  runPrepared: RunPrepared
  keyRing: KeyRing
  /** The current one first: for data keys that are made while it runs. */
  masterKeys: Uint8Array[]
  clock: Clock
  logger: Logger
  config: Pick<
    Config,
    | 'publicUrl'
    | 'returnOrigins'
    | 'trustProxy'
    | 'dataDir'
    | 'leaseRetentionDays'
    | 'auditRetentionDays'
    | 'dataKeyMaxAgeDays'
  >
  /** How patient to be with GitLab; the defaults are what production has. */
  gitlab?: Omit<GitLabClientOptions, 'clock'> | undefined
}

/** The whole application, not yet listening. */
export type WiredApp = {
  app: App
  jobs: Jobs
  /** Saves what an earlier process had to leave behind: to be awaited before the first request. */
  takeUpSpool(): Promise<number>
}

/** How many items of background work are under way at once. */
const JOB_LANES = 8

/** Wires every room once: each dependency is an argument that can be followed from here. */
export const createApp = async ({
  db,
  runPrepared,
  keyRing,
  masterKeys,
  clock,
  logger,
  config,
  gitlab,
}: AppDeps): Promise<WiredApp> => {
  const { publicUrl, returnOrigins, trustProxy, dataDir } = config
  const app = await createServer({ logger, trustProxy })
  await registerApiDocs(app, publicUrl)

  const refusals = createRefusals({ db, clock, logger })
  const namedKeys = createNamedKeys({ db, vault: createVault(keyRing), clock })
  const vault = createVault(keyRing, { tokenHash: namedKeys.tokenHash, onDamaged: refusals.noteDamage })
  const stopFollowing = followDataKeys(keyRing, logger)
  const authenticator = createAuthenticator({ clock, ways: [createAccessKeyIdentification(db)] })
  const instanceClients = createInstanceClients({ ...gitlab, clock })
  const access = { db, vault, clock, instanceClients }
  const oauthClients = createOAuthClients({ vault, instanceClients, publicUrl })
  const spool = createSpool(join(dataDir, 'spool'), vault, logger)
  const tokenSaver = createTokenSaver({ db, vault, spool, logger })
  const refresher = createRefresher({ ...access, logger, oauthClients, tokenSaver })
  const verifier = createStoredTokenVerifier(access)
  const lifecycle = { ...access, authenticator, refresher, tokenSaver, verifier }
  const flow = { ...access, oauthClients }
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
  const jobs = createJobs({
    clock,
    logger,
    lanes: createLanes({ atOnce: JOB_LANES, logger }),
    mendDue: (lanes) => mendDue({ ...lifecycle, logger }, lanes),
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
        masterKeys,
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
    ],
  })

  app.register(async (routes) => {
    noteRefusals(routes as App, refusals)
    registerInstanceRoutes(routes as App, { db, clock, authenticator })
    registerOAuthAppRoutes(routes as App, { db, clock, vault, publicUrl, authenticator })
    registerAccessKeyRoutes(routes as App, { db, clock, authenticator })
    registerConnectSessionRoutes(routes as App, { db, clock, authenticator, publicUrl, returnOrigins })
    registerConnectionRoutes(routes as App, { ...access, authenticator })
    registerConnectRoutes(routes as App, { ...access, authenticator })
    registerTokenRoutes(routes as App, lifecycle)
    registerLeaseRoutes(routes as App, { ...leasing, db, authenticator })
    registerLookupRoutes(routes as App, { ...finding, authenticator })
    registerAuditRoutes(routes as App, { db, authenticator })
    registerLeaseRecordRoutes(routes as App, { db, clock, vault, namedKeys, publicUrl, authenticator })
    await routes.register(async (browser) => {
      await browser.register(cookie)
      registerOAuthFlowRoutes(browser as App, { ...flow, publicUrl })
      await browser.register((page) =>
        registerConnectPage(page as App, {
          ...lifecycle,
          publicUrl,
          refusals,
          startOAuth: (slug, sessionToken, request, reply) =>
            startFlow(flow, slug, sessionToken, request, reply),
        }),
      )
    })
    registerServiceRoutes(routes as App, { isReady: () => isDatabaseReady(db) })
  })

  app.addHook('onClose', async () => {
    stopFollowing()
    await jobs.stop()
    await refresher.idle()
    await tokenSaver.close()
    await oauthClients.close()
    instanceClients.close()
    await refusals.close()
  })
  return { app, jobs, takeUpSpool: tokenSaver.takeUpSpool }
}
