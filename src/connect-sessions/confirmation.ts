import { createSealedCookie, type SealedCookie, type SealedCookieDeps } from './sealed-cookie.ts'

/** The grant about which this browser is asked before it is stored: the id of its authorization request. */
export type Confirmation = { authorizationId: string }

export const createConfirmations = (deps: SealedCookieDeps): SealedCookie<Confirmation> =>
  createSealedCookie<Confirmation>(deps, 'connect-confirm')
