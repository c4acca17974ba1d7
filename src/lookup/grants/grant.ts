import type { ConnectionStatus, TokenKind } from '../../db/tables.ts'

/** One wish for a token, by connection id. */
export type GrantRequest = {
  leaseId: string
  connectionId: string
  accessKeyId: string
  /** The token must live at least this long. */
  minRemaining: number
  leaseSeconds: number
  acceptPastHalfLife: boolean
  purpose: string | null
}

/** One wish for a token by URL, under one reading of the URL. */
export type UrlGrantRequest = Omit<GrantRequest, 'connectionId'> & {
  /** undefined = all: then a connection that is limited to no group is not looked for. */
  organizations: string[] | undefined
  baseUrl: string
  /** If one of these is an instance too, the URL can be read in more than one way: no grant. */
  otherBaseUrls: string[]
  groupPaths: string[]
}

/** Which connection a URL gets, as long as the version of its scopes is still this one. */
export type Match = { connectionId: string; scopes: string[]; version: number }

/** One wish for a token by URL, of which the match is known. */
export type MatchGrantRequest = Omit<GrantRequest, 'connectionId'> & { match: Match }

/** The connection as the statement found it, and whether it granted the lease. */
export type GrantRow = {
  lease_id: string
  connection_id: string
  organization: string
  base_url: string
  token_kind: TokenKind
  token_version: number
  scopes: string[]
  token_expires_at: Date | null
  /** Of a grant by match: the version of its scopes now. */
  match_version?: number
} & (
  | {
      /** The lease is in the table: a secret leaves the database only together with it. */
      access_token: string
      refused: null
    }
  | { access_token: null; refused: RefusedState }
)

/** What there is to know of a connection whose token was not granted. */
export type RefusedState = {
  status: ConnectionStatus
  status_reason: string | null
  status_detail: string | null
  token_issued_at: Date
  attempt_id: string | null
  attempt_deadline: Date | null
  unanswered_since: Date | null
  retry_after: Date | null
  refreshable: boolean
}
