import { type Static, Type } from 'typebox'
import type { LeaseTableRow } from '../../db/tables.ts'
import { pageOf } from '../../http/page.ts'
import {
  Id,
  isoTime,
  isoTimeOrNull,
  NullableText,
  NullableTime,
  Organization,
  Time,
} from '../../http/schemas.ts'

export const Lease = Type.Object(
  {
    id: Id('Of the lease.'),
    connection_id: Id('Of the connection whose token was handed out. It may be deleted by now.'),
    organization: Organization,
    token_version: Type.Integer({ description: 'Which token of the connection it was.' }),
    access_key_id: Id('Of the access key that got it. It may be deleted by now.'),
    subject: NullableText('The workload that got it, as its issuer names it; null = the access key itself.'),
    purpose: NullableText('What the caller said that it is for.'),
    granted_at: Time('When the token was handed out'),
    expires_at: Time('Until when the token stays usable, unless it is released'),
    released_at: NullableTime('When the caller was done with it; null = never said'),
    rejected_at: NullableTime('When GitLab was found to refuse the token; null = never'),
  },
  { $id: 'Lease', description: 'One token that was handed out: to whom, when, and for how long.' },
)

export const LeasePage = pageOf('LeasePage', Lease)

export const LeaseReceipt = Type.Object(
  {
    receipt: Type.String({
      description:
        'JWS in compact form, signed with a key of /.well-known/jwks.json. Its payload has the members of the lease, `instance`, `token_hash`, `iss` and `iat`.',
    }),
  },
  { $id: 'LeaseReceipt', description: 'A signed statement of what was handed out to whom.' },
)

export const toLease = (row: LeaseTableRow): Static<typeof Lease> => ({
  id: row.id,
  connection_id: row.connection_id,
  organization: row.organization,
  token_version: row.token_version,
  access_key_id: row.access_key_id,
  subject: row.subject,
  purpose: row.purpose,
  granted_at: isoTime(row.granted_at),
  expires_at: isoTime(row.expires_at),
  released_at: isoTimeOrNull(row.released_at),
  rejected_at: isoTimeOrNull(row.rejected_at),
})
