import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Refusals } from '../audit/refusals.ts'
import type { Authenticator } from '../callers/authenticator.ts'
import type { Receipt } from '../connect-sessions/receipt.ts'
import type { SealedCookie } from '../connect-sessions/sealed-cookie.ts'
import type { GitLabAccess } from '../instances/gitlab-access.ts'
import type { Refresher } from '../token-lifecycle/refresh.ts'
import type { TokenSaver } from '../token-lifecycle/token-saver.ts'
import type { StoredTokenVerifier } from '../token-lifecycle/verify-stored-token.ts'
import type { Pages } from './pages.ts'
import type { Texts } from './texts.en.ts'
import type { Visitors } from './visitor.ts'

export type ConnectPageDeps = GitLabAccess & {
  publicUrl: string
  refusals: Refusals
  authenticator: Authenticator
  refresher: Refresher
  tokenSaver: TokenSaver
  verifier: StoredTokenVerifier
  /** Begins the OAuth flow for a connect session. @returns the URL at GitLab. */
  startOAuth(
    slug: string,
    sessionToken: string,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<string>
}

/** What the routes of the page share. */
export type PageContext = ConnectPageDeps & {
  texts: Texts
  pages: Pages
  visitors: Visitors
  receipts: SealedCookie<Receipt>
  /** A path as browsers see it: PUBLIC_URL may lie below one. */
  at(path: string): string
}
