import type { Logger } from 'pino'
import type { GitLabAccess } from '../instances/gitlab-access.ts'
import type { OAuthClients } from '../oauth-apps/oauth-clients.ts'
import type { Attempts } from '../token-lifecycle/attempts.ts'

/** What the OAuth flow works with. */
export type FlowDeps = GitLabAccess & { attempts: Attempts; oauthClients: OAuthClients; logger: Logger }
