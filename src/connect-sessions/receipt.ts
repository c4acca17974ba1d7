import { createSealedCookie, type SealedCookie, type SealedCookieDeps } from './sealed-cookie.ts'

/**
 * What this browser has just connected. The page shows an identity, and lets it be undone, only to the browser that
 * holds the receipt: a connection id in a URL proves nothing.
 */
export type Receipt = {
  connectionId: string
  /** null = connected by somebody who is signed in. */
  connectSessionId: string | null
  /** false = the account was connected before, and only its token is new: there is nothing to undo. */
  created: boolean
  /** Whether the token was issued to us just now, so that undoing revokes it; a pasted one may have other uses. */
  issuedToUs: boolean
}

/** As long as a person may think about "Not you?", and about a question before connecting. */
export const RECEIPT_SECONDS = 900

export const createReceipts = (deps: SealedCookieDeps): SealedCookie<Receipt> =>
  createSealedCookie<Receipt>(deps, 'connect-receipt')
