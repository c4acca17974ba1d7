import { type Static, Type } from 'typebox'
import type { OAuthAppRow } from '../db/tables.ts'
import { pageOf } from '../http/page.ts'
import { Id, isoTime, Time } from '../http/schemas.ts'
import { callbackUrl } from './callback-url.ts'

export const OAuthApp = Type.Object(
  {
    id: Id('Id of the OAuth app.'),
    slug: Type.String({ description: 'Name of the app in URLs.', examples: ['gitlab-com'] }),
    instance_id: Id('Id of the instance on which the app is registered.'),
    client_id: Type.String({ description: '"Application ID" at GitLab.' }),
    scopes: Type.Array(Type.String(), { description: 'What the service asks people to grant.' }),
    callback_url: Type.String({
      description: 'Enter exactly this as the redirect URI of the application at GitLab.',
    }),
    created_at: Time('When it was added'),
    updated_at: Time('When it was last changed'),
  },
  { $id: 'OAuthApp', description: 'An application registered at GitLab, without its secret.' },
)

export const OAuthAppPage = pageOf('OAuthAppPage', OAuthApp)

export const toOAuthApp = (row: OAuthAppRow, publicUrl: string): Static<typeof OAuthApp> => ({
  id: row.id,
  slug: row.slug,
  instance_id: row.instance_id,
  client_id: row.client_id,
  scopes: row.scopes,
  callback_url: callbackUrl(publicUrl, row.slug),
  created_at: isoTime(row.created_at),
  updated_at: isoTime(row.updated_at),
})

/** What the record tells of an OAuth app. */
export const auditDetails = ({ slug, client_id }: OAuthAppRow) => ({ slug, client_id })
