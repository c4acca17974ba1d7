import { Type } from 'typebox'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { actorOf, organizationsOf, requireEveryOrganization } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { notFound } from '../errors/problem.ts'
import { pageQuery, readCursor, toPage } from '../http/page.ts'
import { problems, problemsWithBody } from '../http/problem-schema.ts'
import { BaseUrl, idParams, Name, refTo } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import { changeInstance } from './change-instance.ts'
import { createInstance } from './create-instance.ts'
import { deleteInstance } from './delete-instance.ts'
import { Instance, InstancePage, toInstance } from './instance.ts'
import { findInstanceOf, listInstances } from './queries.ts'
import { SshHosts } from './ssh-hosts.ts'

const tags = ['Instances']
const params = idParams('Id of the instance: `id` of `GET /v1/instances`.')

/** Without defaults: a change of one of them leaves the others as they are. */
const settings = {
  name: Type.Optional(Name),
  allow_private_network: Type.Optional(
    Type.Boolean({
      description:
        'Whether the service may call private addresses and plain http there. false when a new instance leaves it out. Switch it on only for a GitLab inside your own network.',
    }),
  ),
  ca_certificate: Type.Optional(
    Type.Union([Type.String({ maxLength: 50_000 }), Type.Null()], {
      description:
        'Certificate of a private authority (PEM): its root, an intermediate, or the certificate of the server itself; several in a row. The service trusts it for this instance, in addition to the public authorities. Text that tools write around certificates is left out; a private key is refused.',
    }),
  ),
  proxy_url: Type.Optional(
    Type.Union(
      [
        Type.String({ minLength: 1, maxLength: 2000, examples: ['http://proxy.example.com:3128'] }),
        Type.Null(),
      ],
      {
        description:
          'Proxy through which the service calls this instance, OAuth included. Without credentials: those of `HTTPS_PROXY` are used where it names the same proxy. The proxy may have a private address; the addresses of GitLab are checked as without one. Only for https, so that the proxy never sees a token. null: the proxy of the environment, if there is one.',
      },
    ),
  ),
  ssh_hosts: Type.Optional(SshHosts),
}

const list = {
  operationId: 'listInstances',
  tags,
  summary: 'List GitLab instances',
  description: 'https://gitlab.com is in the list from the start.',
  querystring: Type.Object(pageQuery, { additionalProperties: false }),
  response: { 200: refTo(InstancePage), ...problems() },
}

const create = {
  operationId: 'createInstance',
  tags,
  summary: 'Add a GitLab instance',
  description:
    'A GitLab with a private address, plain http or a private certificate authority has to be added. The service adds any other GitLab itself when somebody connects the first account on it.',
  body: Type.Object(
    { base_url: BaseUrl, ...settings },
    {
      additionalProperties: false,
      examples: [{ base_url: 'https://gitlab.example.com', name: 'Company GitLab' }],
    },
  ),
  response: { 201: refTo(Instance), ...problemsWithBody('instance_exists') },
}

const read = {
  operationId: 'getInstance',
  tags,
  summary: 'Read a GitLab instance',
  description: 'Where the instance is, and how far the service trusts it.',
  params,
  response: { 200: refTo(Instance), ...problems('not_found') },
}

const change = {
  operationId: 'updateInstance',
  tags,
  summary: 'Change a GitLab instance',
  description: 'Changes the name and how far the service trusts it. The base URL cannot change.',
  params,
  body: Type.Object(settings, {
    additionalProperties: false,
    minProperties: 1,
    examples: [{ name: 'Company GitLab' }],
  }),
  response: { 200: refTo(Instance), ...problemsWithBody('not_found') },
}

const remove = {
  operationId: 'deleteInstance',
  tags,
  summary: 'Delete a GitLab instance',
  description: 'Deletes an instance that no OAuth app and no connection uses.',
  params,
  response: {
    204: Type.Null({ description: 'The instance is deleted.' }),
    ...problems('not_found', 'instance_in_use'),
  },
}

type Deps = { db: Database; clock: Clock; authenticator: Authenticator }

export const registerInstanceRoutes = (app: App, deps: Deps): void => {
  const { db, authenticator } = deps
  const onRequest = authenticator.requireRole('admin')
  for (const schema of [Instance, InstancePage]) app.addSchema(schema)

  app.get('/v1/instances', { onRequest, schema: list }, async (request) => {
    const { limit = 20, cursor } = request.query
    return toPage(
      await listInstances(db, {
        organizations: organizationsOf(principalOf(request)),
        after: readCursor(cursor),
        limit: limit + 1,
      }),
      limit,
      toInstance,
    )
  })

  app.post('/v1/instances', { onRequest, schema: create }, async (request, reply) => {
    const principal = principalOf(request)
    requireEveryOrganization(principal)
    const row = await createInstance(deps, request.body, actorOf(principal, request))
    return reply.code(201).send(toInstance(row))
  })

  app.get('/v1/instances/:id', { onRequest, schema: read }, async (request) => {
    const row = await findInstanceOf(db, request.params.id, organizationsOf(principalOf(request)))
    if (!row) throw notFound('instance')
    return toInstance(row)
  })

  app.patch('/v1/instances/:id', { onRequest, schema: change }, async (request) => {
    const principal = principalOf(request)
    requireEveryOrganization(principal)
    const actor = actorOf(principal, request)
    return toInstance(await changeInstance(deps, request.params.id, request.body, actor))
  })

  app.delete('/v1/instances/:id', { onRequest, schema: remove }, async (request, reply) => {
    const principal = principalOf(request)
    requireEveryOrganization(principal)
    await deleteInstance(deps, request.params.id, actorOf(principal, request))
    return reply.code(204).send(null)
  })
}
