import { type Static, Type } from 'typebox'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { actorOf, mayActIn, organizationsOf, requireOrganization } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { ConnectSessionRow } from '../db/tables.ts'
import { invalidField, notFound } from '../errors/problem.ts'
import { pageOf, pageQuery, readCursor, toPage } from '../http/page.ts'
import { problems, problemsWithBody } from '../http/problem-schema.ts'
import {
  BaseUrl,
  Id,
  idParams,
  isoTime,
  isoTimeOrNull,
  Labels,
  NullableText,
  NullableTime,
  Organization,
  refTo,
  Time,
} from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import { allowedReturnUrl, METHODS } from './connect-session.ts'
import { createConnectSession } from './create-session.ts'
import { endConnectSession } from './end-session.ts'
import { findPurpose } from './find-purpose.ts'
import { findSession, listSessions } from './queries.ts'

const DEFAULT_SECONDS = 3_600
const SHORTEST_SECONDS = 60
const LONGEST_SECONDS = 86_400

const ConnectSession = Type.Object(
  {
    id: Id('Id of the link, for `DELETE /v1/connect-sessions/{id}`.'),
    url: Type.String({ description: 'The link for the person. The service shows it once.' }),
    expires_at: Time('When the link ends'),
  },
  { $id: 'ConnectSession', description: 'A link with which a person connects one organization.' },
)

const ConnectSessionState = Type.Object(
  {
    id: Id('Id of the link.'),
    organization: Organization,
    state: Type.Union(
      [Type.Literal('open'), Type.Literal('used'), Type.Literal('ended'), Type.Literal('expired')],
      { description: 'open: nobody has connected with the link yet. ended: a caller ended the link.' },
    ),
    connection_id: NullableText('The connection that the link reconnects. null: the link connects anew.'),
    base_url: NullableText('The only instance at which the link connects. null: any.'),
    group: NullableText(
      'The group or project to which the link limits the connection. null: the person may say.',
    ),
    labels: Labels,
    methods: Type.Array(Type.String(), { description: 'How the person may connect.' }),
    return_url: NullableText('Where the browser goes afterwards. null: to our own page.'),
    created_at: Time('When the link was made'),
    expires_at: Time('When the link ends'),
    used_at: NullableTime('When the person connected; null: not yet'),
  },
  { $id: 'ConnectSessionState', description: 'A connect link, without its token.' },
)

const ConnectSessionPage = pageOf('ConnectSessionPage', ConnectSessionState)

const toState = (row: ConnectSessionRow, now: Date): Static<typeof ConnectSessionState> => ({
  id: row.id,
  organization: row.organization,
  state: row.used_at ? 'used' : row.ended_at ? 'ended' : row.expires_at <= now ? 'expired' : 'open',
  connection_id: row.connection_id,
  base_url: row.base_url,
  group: row.group_path,
  labels: row.labels,
  methods: row.methods,
  return_url: row.return_url,
  created_at: isoTime(row.created_at),
  expires_at: isoTime(row.expires_at),
  used_at: isoTimeOrNull(row.used_at),
})

const create = {
  operationId: 'createConnectSession',
  tags: ['Connections'],
  summary: 'Create a connect link',
  description:
    'Makes a link for a person without an access key. The link connects one organization, once, or reconnects one connection (`connection_id`). The token in the link also starts OAuth directly: `/oauth/{slug}/start?session=`.',
  body: Type.Object(
    {
      organization: Organization,
      return_url: Type.Optional(
        Type.String({
          maxLength: 2000,
          description: 'Where the browser goes afterwards. RETURN_ORIGINS has to contain the origin.',
        }),
      ),
      connection_id: Type.Optional(
        Id(
          'A connection that the link reconnects: the same id for the scanners, whoever connects and how. The page asks before another account takes its place.',
        ),
      ),
      base_url: Type.Optional(BaseUrl),
      group: Type.Optional(
        Type.String({
          minLength: 1,
          maxLength: 1000,
          pattern: '[^\\s/]',
          description: 'Limits the connection to a group or project. The account must reach it.',
          examples: ['acme/platform'],
        }),
      ),
      labels: Type.Optional(Labels),
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
}

const list = {
  operationId: 'listConnectSessions',
  tags: ['Connections'],
  summary: 'List connect links',
  description:
    'Lists the connect links of your organizations, until a week after their end. The answer contains no token.',
  querystring: Type.Object(
    { organization: Type.Optional(Organization), ...pageQuery },
    { additionalProperties: false },
  ),
  response: { 200: refTo(ConnectSessionPage), ...problems('not_found') },
}

const end = {
  operationId: 'endConnectSession',
  tags: ['Connections'],
  summary: 'End a connect link',
  description: 'The link works no more. A link that was used, or has ended, stays as it is.',
  params: idParams('Id of the link: `id` of `GET /v1/connect-sessions`.'),
  response: { 204: Type.Null({ description: 'The link works no more.' }), ...problems('not_found') },
}

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
  for (const schema of [ConnectSession, ConnectSessionState, ConnectSessionPage]) app.addSchema(schema)
  app.post(
    '/v1/connect-sessions',
    {
      onRequest: authenticator.requireRole('manager'),
      schema: create,
    },
    async (request, reply) => {
      const { organization, return_url, methods, expires_in = DEFAULT_SECONDS, labels } = request.body
      const principal = principalOf(request)
      requireOrganization(principal, organization)
      const returnUrl = return_url === undefined ? null : allowedReturnUrl(return_url, returnOrigins)
      if (returnUrl === undefined)
        throw invalidField('return_url', 'has an origin that RETURN_ORIGINS does not allow')

      const { id, token, expiresAt } = await createConnectSession(
        { db, clock },
        {
          organization,
          returnUrl,
          methods: methods ?? METHODS,
          expiresInSeconds: expires_in,
          labels: labels ?? {},
          ...(await findPurpose({ db, clock }, request.body)),
        },
        actorOf(principal, request),
      )
      const url = `${publicUrl}/connect?session=${token}`
      return reply
        .code(201)
        .header('cache-control', 'no-store')
        .send({ id, url, expires_at: isoTime(expiresAt) })
    },
  )

  app.get(
    '/v1/connect-sessions',
    { onRequest: authenticator.requireRole('manager'), schema: list },
    async (request) => {
      const { organization, limit = 20, cursor } = request.query
      const principal = principalOf(request)
      if (organization !== undefined) requireOrganization(principal, organization)
      const rows = await listSessions(db, {
        organizations: organization === undefined ? organizationsOf(principal) : [organization],
        after: readCursor(cursor),
        limit: limit + 1,
      })
      const now = new Date(clock())
      return toPage(rows, limit, (row) => toState(row, now))
    },
  )

  app.delete(
    '/v1/connect-sessions/:id',
    { onRequest: authenticator.requireRole('manager'), schema: end },
    async (request, reply) => {
      const principal = principalOf(request)
      const session = await findSession(db, request.params.id)
      if (!session || !mayActIn(principal, session.organization)) throw notFound('connect link')
      await endConnectSession({ db, clock }, session, actorOf(principal, request))
      return reply.code(204).send(null)
    },
  )
}
