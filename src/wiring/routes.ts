import cookie from '@fastify/cookie'
import formbody from '@fastify/formbody'
import { registerAccessKeyRoutes } from '../access-keys/routes.ts'
import { registerWhoamiRoute } from '../access-keys/whoami-route.ts'
import { registerAuditRoutes } from '../audit/routes.ts'
import { registerConnectPage } from '../connect-page/routes.ts'
import { linkOpener } from '../connect-page/visit/open-link.ts'
import { registerConnectSessionRoutes } from '../connect-sessions/routes.ts'
import { registerConnectRoutes } from '../connections/connect-routes.ts'
import { registerConnectionRoutes } from '../connections/routes.ts'
import { registerTokenRoutes } from '../connections/token-routes.ts'
import { registerGitCredentialRoutes } from '../git-credential/routes.ts'
import type { App } from '../http/server.ts'
import { registerInstanceRoutes } from '../instances/routes.ts'
import { registerLeaseRecordRoutes } from '../leases/record/routes.ts'
import { registerLeaseRoutes } from '../leases/routes.ts'
import { registerBatchRoutes } from '../lookup/batch/routes.ts'
import { registerLookupRoutes } from '../lookup/routes.ts'
import { registerOAuthMetadata, registerTokenExchange } from '../lookup/token-exchange-routes.ts'
import { registerOAuthAppRoutes } from '../oauth-apps/routes.ts'
import { createOAuthFlow } from '../oauth-flow/oauth-flow.ts'
import { registerOAuthFlowRoutes } from '../oauth-flow/routes.ts'
import { registerPreflightRoutes } from '../preflight/routes.ts'
import { registerProjectRoutes } from '../projects/routes.ts'
import { registerSyncRoutes } from '../projects/sync/routes.ts'
import { registerTrustedIssuerRoutes } from '../trusted-issuers/routes.ts'
import { registerWeatherRoutes } from '../weather/routes.ts'

import type { AppDeps, Rooms } from './rooms.ts'

/** What every room answers. */
export const registerRoutes = async (
  routes: App,
  {
    access,
    authenticator,
    deviceTimers,
    finding,
    flow,
    forecast,
    leasing,
    lifecycle,
    namedKeys,
    refusals,
    rejections,
    sendCredential,
    syncs,
    vault,
    visitors,
    workloads,
  }: Rooms,
  { db, clock, config }: AppDeps,
): Promise<void> => {
  const { publicUrl, returnOrigins } = config
  registerInstanceRoutes(routes, { db, clock, authenticator })
  registerWeatherRoutes(routes, { ...access, forecast, authenticator })
  registerOAuthAppRoutes(routes, { db, clock, vault, publicUrl, authenticator })
  registerAccessKeyRoutes(routes, { db, clock, authenticator })
  registerWhoamiRoute(routes, { authenticator })
  registerTrustedIssuerRoutes(routes, { db, clock, authenticator })
  registerConnectSessionRoutes(routes, { db, clock, authenticator, publicUrl, returnOrigins })
  registerConnectionRoutes(routes, lifecycle)
  registerConnectRoutes(routes, { ...access, authenticator })
  registerTokenRoutes(routes, lifecycle)
  registerProjectRoutes(routes, { db, authenticator })
  registerSyncRoutes(routes, { db, clock, syncs, authenticator })
  registerLeaseRoutes(routes, { ...leasing, db, authenticator, rejections, sendCredential })
  registerLookupRoutes(routes, { ...finding, ...access, forecast, authenticator, sendCredential })
  await routes.register((scope) => registerTokenExchange(scope as App, { ...finding, workloads, refusals }))
  registerBatchRoutes(routes, { ...finding, db, authenticator })
  registerPreflightRoutes(routes, { ...finding, ...access, authenticator })
  await routes.register(async (scope) =>
    registerGitCredentialRoutes(scope as App, { ...finding, db, authenticator, rejections, refusals }),
  )
  registerOAuthMetadata(routes, { publicUrl })
  registerAuditRoutes(routes, { db, authenticator })
  registerLeaseRecordRoutes(routes, { db, clock, vault, namedKeys, publicUrl, authenticator })
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
        syncs,
        oauthFlow: createOAuthFlow(flow, deviceTimers),
      }),
    )
  })
}
