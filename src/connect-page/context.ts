import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Authenticator } from '../callers/authenticator.ts'
import type { Receipt } from '../connect-sessions/receipt.ts'
import type { SealedCookie } from '../connect-sessions/sealed-cookie.ts'
import type { Refresher } from '../token-lifecycle/refresh.ts'
import type { RotateDeps } from '../token-lifecycle/rotate.ts'
import type { StoredTokenVerifier } from '../token-lifecycle/verify-stored-token.ts'
import type { Pages } from './pages.ts'
import type { Texts } from './texts.en.ts'
import type { Visitors } from './visit/visitor.ts'

export type ConnectPageDeps = RotateDeps & {
  publicUrl: string
  authenticator: Authenticator
  refresher: Refresher
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
