import { join } from 'node:path'
import cookie from '@fastify/cookie'
import type { Logger } from 'pino'
import { createAuthenticator } from './access-keys/authenticate.ts'
import { registerAccessKeyRoutes } from './access-keys/routes.ts'
import type { Clock } from './clock/clock.ts'
import type { Config } from './config/config.ts'
import { registerConnectPage } from './connect-page/routes.ts'
import { registerConnectSessionRoutes } from './connect-sessions/routes.ts'
import { coalesce } from './connections/coalesce.ts'
import { registerLifecycleRoutes } from './connections/lifecycle-routes.ts'
import { createRefresher } from './connections/refresh.ts'
import { rotate } from './connections/rotate.ts'
import { registerConnectionRoutes } from './connections/routes.ts'
import { createSpool } from './connections/spool.ts'
import { createTokenSaver } from './connections/token-saver.ts'
import { verifyConnection } from './connections/verify-connection.ts'
import { type Database, isDatabaseReady, type RunPrepared } from './db/database.ts'
import type { GitLabClientOptions } from './gitlab/http-client.ts'
import { registerApiDocs } from './http/api-docs.ts'
import { type App, createServer } from './http/server.ts'
import { registerServiceRoutes } from './http/service-routes.ts'
import { createInstanceClients } from './instances/instance-clients.ts'
import { registerInstanceRoutes } from './instances/routes.ts'
import { createJobs, type Jobs } from './jobs/jobs.ts'
import { createKnownMatches } from './lookup/known-matches.ts'
import { createLeaseGrants } from './lookup/lease-grants.ts'
import { createOpenedTokens } from './lookup/opened-tokens.ts'
import { registerLookupRoutes } from './lookup/routes.ts'
import { createOAuthClients } from './oauth-apps/oauth-clients.ts'
import { registerOAuthAppRoutes } from './oauth-apps/routes.ts'
import { startFlow } from './oauth-flow/flow.ts'
import { completePendingGrant } from './oauth-flow/grant.ts'
import { registerOAuthFlowRoutes } from './oauth-flow/routes.ts'
import type { KeyRing } from './vault/key-ring.ts'
import { createVault } from './vault/vault.ts'

export type AppDeps = {
  db: Database
  runPrepared: RunPrepared
  keyRing: KeyRing
  clock: Clock
  logger: Logger
  config: Pick<Config, 'publicUrl' | 'returnOrigins' | 'trustProxy' | 'dataDir' | 'leaseRetentionDays'>
  /** How patient to be with GitLab; the defaults are what production has. */
  gitlab?: Omit<GitLabClientOptions, 'clock'> | undefined
}

export type Broker = {
  app: App
  jobs: Jobs
  /** Saves what an earlier process had to leave behind: to be awaited before the first request. */
  takeUpSpool(): Promise<number>
}

/** Wires every room once: each dependency is an argument that can be followed from here. */
export const createApp = async ({
  db,
  runPrepared,
  keyRing,
  clock,
  logger,
  config,
  gitlab,
}: AppDeps): Promise<Broker> => {
  const { publicUrl, returnOrigins, trustProxy, dataDir } = config
  const app = await createServer({ logger, trustProxy })
  await registerApiDocs(app, publicUrl)

  const vault = createVault(keyRing)
  const authenticator = createAuthenticator({ db, clock })
  const instanceClients = createInstanceClients({ ...gitlab, clock })
  const oauthClients = createOAuthClients({ vault, instanceClients, publicUrl })
  const spool = createSpool(join(dataDir, 'spool'), vault, logger)
  const tokenSaver = createTokenSaver({ db, vault, spool, logger })
  const refresher = createRefresher({ db, vault, clock, logger, instanceClients, oauthClients, tokenSaver })
  const verify = coalesce((connectionId: string) =>
    verifyConnection({ db, vault, clock, instanceClients }, connectionId),
  )
  const flowDeps = { db, vault, clock, instanceClients, oauthClients }
  const jobs = createJobs({
    db,
    clock,
    logger,
    refresher,
    verify,
    rotate: (id) => rotate({ db, vault, clock, instanceClients, tokenSaver }, id, undefined),
    completeGrant: (id) => completePendingGrant(flowDeps, id),
    leaseRetentionDays: config.leaseRetentionDays,
  })
  const leaseGrants = createLeaseGrants({ runPrepared, clock })
  const openedTokens = createOpenedTokens(vault)

  app.register(async (routes) => {
    registerInstanceRoutes(routes as App, { db, clock, authenticator })
    registerOAuthAppRoutes(routes as App, { db, clock, vault, publicUrl, authenticator })
    registerAccessKeyRoutes(routes as App, { db, clock, authenticator })
    registerConnectSessionRoutes(routes as App, { db, clock, authenticator, publicUrl, returnOrigins })
    registerConnectionRoutes(routes as App, { db, clock, vault, instanceClients, authenticator })
    registerLifecycleRoutes(routes as App, {
      db,
      clock,
      vault,
      instanceClients,
      refresher,
      tokenSaver,
      verify,
      authenticator,
    })
    registerLookupRoutes(routes as App, {
      db,
      runPrepared,
      clock,
      leaseGrants,
      knownMatches: createKnownMatches({ runPrepared, clock }),
      openedTokens,
      refresher,
      verify,
      authenticator,
    })
    await routes.register(async (browser) => {
      await browser.register(cookie)
      registerOAuthFlowRoutes(browser as App, { db, clock, vault, instanceClients, oauthClients, publicUrl })
      await browser.register((page) =>
        registerConnectPage(page as App, {
          db,
          clock,
          vault,
          instanceClients,
          publicUrl,
          authenticator,
          refresher,
          tokenSaver,
          verify,
          startOAuth: (slug, sessionToken, request, reply) =>
            startFlow(flowDeps, slug, sessionToken, request, reply),
        }),
      )
    })
    registerServiceRoutes(routes as App, {
      isReady: () => isDatabaseReady(db),
    })
  })

  app.addHook('onClose', async () => {
    await jobs.stop()
    await refresher.idle()
    await tokenSaver.close()
    await oauthClients.close()
    instanceClients.close()
  })
  return { app, jobs, takeUpSpool: tokenSaver.takeUpSpool }
}
