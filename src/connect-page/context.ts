import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Authenticator } from '../access-keys/authenticate.ts'
import type { Receipt } from '../connect-sessions/receipt.ts'
import type { SealedCookie } from '../connect-sessions/sealed-cookie.ts'
import type { ConnectDeps } from '../connections/connect-token.ts'
import type { Refresher } from '../connections/refresh.ts'
import type { TokenSaver } from '../connections/token-saver.ts'
import type { ConnectionVerdict } from '../connections/verify-connection.ts'
import type { Pages } from './pages.ts'
import type { Texts } from './texts.en.ts'
import type { Visitors } from './visitor.ts'

export type ConnectPageDeps = ConnectDeps & {
  publicUrl: string
  authenticator: Authenticator
  refresher: Refresher
  tokenSaver: TokenSaver
  verify(connectionId: string): Promise<ConnectionVerdict>
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
