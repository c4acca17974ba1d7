import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Refusals } from '../audit/refusals.ts'
import type { Authenticator } from '../callers/authenticator.ts'
import type { Origin } from '../callers/principal.ts'
import type { Confirmation } from '../connect-sessions/confirmation.ts'
import type { FlowResult } from '../connect-sessions/connect-session.ts'
import type { DeviceFlows } from '../connect-sessions/device-flows.ts'
import type { Receipt } from '../connect-sessions/receipt.ts'
import type { SealedCookie } from '../connect-sessions/sealed-cookie.ts'
import type { Syncs } from '../projects/sync/syncs.ts'
import type { Refresher } from '../token-lifecycle/refresh.ts'
import type { RotateDeps } from '../token-lifecycle/rotate.ts'
import type { StoredTokenVerifier } from '../token-lifecycle/verify-stored-token.ts'
import type { Question } from './connect/question.ts'
import type { ShownDevice } from './connect/shown-device.ts'
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
  syncs: Syncs
}

/** The part of the OAuth flow that the page leads people into, and the question that may come at its end. */
export type OAuthFlow = {
  /** Begins the flow for a connect session. @returns the URL at GitLab. */
  start(slug: string, connectSessionId: string, request: FastifyRequest, reply: FastifyReply): Promise<string>
  /** Begins the device grant for a connect session. */
  startDevice(slug: string, connectSessionId: string): Promise<{ authorizationId: string; expiresAt: Date }>
  /** What the browser that began it is shown. @throws {Problem} session_expired */
  readDevice(authorizationId: string, origin: Origin): Promise<DeviceState>
  /** What a person is asked about. @throws {Problem} session_expired */
  readQuestion(authorizationId: string): Promise<Question>
  confirm(authorizationId: string, origin: Origin): Promise<End>
  decline(authorizationId: string): Promise<End>
}

/** How far a device grant is. */
export type DeviceState =
  | ShownDevice
  | { kind: 'waits'; authorizationId: string; until: Date }
  | ({ kind: 'ended' } & End)

export type End = { result: FlowResult; returnUrl: string | null; receipt?: Receipt }

/** What the routes of the page share. */
export type PageContext = ConnectPageDeps & {
  texts: Texts
  pages: Pages
  forms: SealedForms
  receipts: SealedCookie<Receipt>
  confirmations: SealedCookie<Confirmation>
  deviceFlows: SealedCookie<DeviceFlows>
  /** A path as browsers see it: PUBLIC_URL may lie below one. */
  at(path: string): string
}
