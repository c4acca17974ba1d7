import { Type } from 'typebox'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { actorOf, requireOrganization } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { invalidField } from '../errors/problem.ts'
import { problemsWithBody } from '../http/problem-schema.ts'
import { isoTime, Organization, refTo, Time } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import { allowedReturnUrl, METHODS } from './connect-session.ts'
import { createConnectSession } from './create-session.ts'

const DEFAULT_SECONDS = 3_600
const SHORTEST_SECONDS = 60
const LONGEST_SECONDS = 86_400

const ConnectSession = Type.Object(
  {
    url: Type.String({ description: 'The link for the person. The service shows it once.' }),
    expires_at: Time('When the link ends'),
  },
  { $id: 'ConnectSession', description: 'A link with which a person connects one organization.' },
)

type Deps = {
  db: Database
  clock: Clock
  authenticator: Authenticator
  publicUrl: string
  returnOrigins: string[]
}

export const registerConnectSessionRoutes = (
  app: App,
  { db, clock, authenticator, publicUrl, returnOrigins }: Deps,
): void => {
  app.addSchema(ConnectSession)
  app.post(
    '/v1/connect-sessions',
    {
      onRequest: authenticator.requireRole('manager'),
      schema: {
        operationId: 'createConnectSession',
        tags: ['Connections'],
        summary: 'Create a connect link',
        description:
          'Makes a link for a person without an access key. The link connects one organization, once. The token in the link also starts OAuth directly: `/oauth/{slug}/start?session=`.',
        body: Type.Object(
          {
            organization: Organization,
            return_url: Type.Optional(
              Type.String({
                maxLength: 2000,
                description: 'Where the browser goes afterwards. RETURN_ORIGINS has to contain the origin.',
              }),
            ),
            methods: Type.Optional(
              Type.Array(Type.Union([Type.Literal('oauth'), Type.Literal('device'), Type.Literal('token')]), {
                minItems: 1,
                uniqueItems: true,
                description:
                  'How the person may connect: by OAuth; by OAuth with a code (`device`: the person enters the code at GitLab, for a GitLab that cannot redirect to this service); with a token. All of them when you leave it out.',
              }),
            ),
            expires_in: Type.Optional(
              Type.Integer({
                minimum: SHORTEST_SECONDS,
                maximum: LONGEST_SECONDS,
                default: DEFAULT_SECONDS,
                description: 'Seconds until the link ends.',
              }),
            ),
          },
          { additionalProperties: false, examples: [{ organization: 'acme' }] },
        ),
        response: {
          201: refTo(ConnectSession),
          ...problemsWithBody('not_found'),
        },
      },
    },
    async (request, reply) => {
      const { organization, return_url, methods, expires_in = DEFAULT_SECONDS } = request.body
      const principal = principalOf(request)
      requireOrganization(principal, organization)
      const returnUrl = return_url === undefined ? null : allowedReturnUrl(return_url, returnOrigins)
      if (returnUrl === undefined)
        throw invalidField('return_url', 'has an origin that RETURN_ORIGINS does not allow')

      const { token, expiresAt } = await createConnectSession(
        { db, clock },
        { organization, returnUrl, methods: methods ?? METHODS, expiresInSeconds: expires_in },
        actorOf(principal, request),
      )
      const url = `${publicUrl}/connect?session=${token}`
      return reply
        .code(201)
        .header('cache-control', 'no-store')
        .send({ url, expires_at: isoTime(expiresAt) })
    },
  )
}
