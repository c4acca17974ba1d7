import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Refusals } from '../audit/refusals.ts'
import type { Authenticator } from '../callers/authenticator.ts'
import type { Origin } from '../callers/principal.ts'
import type { Confirmation } from '../connect-sessions/confirmation.ts'
import type { FlowResult } from '../connect-sessions/connect-session.ts'
import type { Receipt } from '../connect-sessions/receipt.ts'
import type { SealedCookie } from '../connect-sessions/sealed-cookie.ts'
import type { Refresher } from '../token-lifecycle/refresh.ts'
import type { RotateDeps } from '../token-lifecycle/rotate.ts'
import type { StoredTokenVerifier } from '../token-lifecycle/verify-stored-token.ts'
import type { Question } from './connect/question.ts'
import type { Pages } from './pages.ts'
import type { Texts } from './texts.en.ts'
import type { SealedForms } from './visit/sealed-form.ts'
import type { Visitors } from './visit/visitor.ts'

export type ConnectPageDeps = RotateDeps & {
  publicUrl: string
  refusals: Refusals
  authenticator: Authenticator
  refresher: Refresher
  verifier: StoredTokenVerifier
  visitors: Visitors
  oauthFlow: OAuthFlow
}

/** The part of the OAuth flow that the page leads people into, and the question that may come at its end. */
export type OAuthFlow = {
  /** Begins the flow for a connect session. @returns the URL at GitLab. */
  start(slug: string, connectSessionId: string, request: FastifyRequest, reply: FastifyReply): Promise<string>
  /** What a person is asked about. @throws {Problem} session_expired */
  readQuestion(authorizationId: string): Promise<Question>
  confirm(authorizationId: string, origin: Origin): Promise<End>
  decline(authorizationId: string): Promise<End>
}

export type End = { result: FlowResult; returnUrl: string | null; receipt?: Receipt }

/** What the routes of the page share. */
export type PageContext = ConnectPageDeps & {
  texts: Texts
  pages: Pages
  forms: SealedForms
  receipts: SealedCookie<Receipt>
  confirmations: SealedCookie<Confirmation>
  /** A path as browsers see it: PUBLIC_URL may lie below one. */
  at(path: string): string
}
