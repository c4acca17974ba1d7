import type { Principal } from '../callers/principal.ts'
import type { ConnectionStatus, TokenKind } from '../db/tables.ts'
import type { LeaseConditions } from './serving-decision.ts'

/** Who holds a lease. */
export type LeaseHolder = {
  accessKeyId: string
  /** The workload of a trusted issuer; null = the access key itself. */
  subject: string | null
}

export const holderOf = ({ id, subject }: Principal): LeaseHolder => ({ accessKeyId: id, subject })

/** Whether the caller got this lease. */
export const isHeldBy = (
  lease: { access_key_id: string; subject: string | null },
  { id, subject }: Pick<Principal, 'id' | 'subject'>,
): boolean => lease.access_key_id === id && lease.subject === subject

/** One lease that is asked for, before it is known of which connection. */
export type LeaseRequest = LeaseConditions &
  LeaseHolder & {
    leaseId: string
    purpose: string | null
  }

/** The connection as the statement found it, and its token if the lease was given. */
export type LeaseRow = {
  lease_id: string
  connection_id: string
  organization: string
  base_url: string
  token_kind: TokenKind
  token_version: number
  scopes: string[]
  token_expires_at: Date | null
} & (
  | {
      /** The lease is in the table: a secret leaves the database only together with its lease. */
      access_token: string
      refused: null
    }
  | { access_token: null; refused: RefusedState }
)

export type LeasedRow = Extract<LeaseRow, { refused: null }>
export type RefusedRow = Exclude<LeaseRow, LeasedRow>

export const isLeased = (row: LeaseRow): row is LeasedRow => row.access_token !== null

/** The state of a connection whose token does not meet the conditions. */
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
  /** Whether a lease on the current token version is active. */
  leased: boolean
  /** The database has counted less far than this node has seen it count: it went back. */
  database_went_back: boolean
}
