import { type Static, Type } from 'typebox'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import type { Principal } from '../callers/principal.ts'
import { problems } from '../http/problem-schema.ts'
import { Id, isoTimeOrNull, NullableText, NullableTime, refTo } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import { grantedShown } from './granted.ts'

const Caller = Type.Object(
  {
    id: Id('Of the access key, or of the rule of a trusted issuer.'),
    name: Type.String(),
    subject: NullableText('The workload that a trusted issuer names; null = an access key.'),
    ...grantedShown,
    expires_at: NullableTime('When the access key, or the token of the issuer, stops working; null = never'),
  },
  { $id: 'Caller', description: 'Who calls, and what the caller may do.' },
)

const toCaller = (principal: Principal): Static<typeof Caller> => {
  const { id, name, subject, role, organizations, restrictions, encryptionKey, requiresSealed, expiresAt } =
    principal
  return {
    id,
    name,
    subject,
    role,
    organizations,
    restrictions: {
      url_prefixes: restrictions.urlPrefixes ?? null,
      connections: restrictions.connections ?? null,
      read_only: restrictions.readOnly,
    },
    encryption_key: encryptionKey ?? null,
    require_sealed: requiresSealed,
    expires_at: isoTimeOrNull(expiresAt),
  }
}

const whoami = {
  operationId: 'whoAmI',
  tags: ['Access keys'],
  summary: 'What your own key is and may do',
  description: 'For any key and any role: its role, organizations, restrictions and end.',
  response: { 200: refTo(Caller), ...problems() },
}

export const registerWhoamiRoute = (app: App, { authenticator }: { authenticator: Authenticator }): void => {
  app.addSchema(Caller)
  app.get(
    '/v1/whoami',
    { onRequest: authenticator.requireRole('scanner'), schema: whoami },
    async (request) => toCaller(principalOf(request)),
  )
}
