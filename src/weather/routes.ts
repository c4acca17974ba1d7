import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { organizationsOf } from '../callers/principal.ts'
import { notFound } from '../errors/problem.ts'
import { problems } from '../http/problem-schema.ts'
import { idParams, refTo } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import type { GitLabAccess } from '../instances/gitlab-access.ts'
import { findInstanceOf } from '../instances/queries.ts'
import { CONDITION_SCHEMAS, InstanceConditions, readConditions } from './conditions.ts'
import type { Forecast } from './forecast.ts'

const conditions = {
  operationId: 'getInstanceConditions',
  tags: ['Instances'],
  summary: 'Read the conditions at a GitLab instance',
  description:
    'What GitLab is, what it limits, whether it answers, and which incidents there are. The version is asked for with a stored token; while GitLab does not answer, it is null.',
  params: idParams('Id of the instance: `id` of `GET /v1/instances`.'),
  response: { 200: refTo(InstanceConditions), ...problems('not_found') },
}

type Deps = GitLabAccess & { forecast: Forecast; authenticator: Authenticator }

export const registerWeatherRoutes = (app: App, deps: Deps): void => {
  const { db, authenticator } = deps
  for (const schema of CONDITION_SCHEMAS) app.addSchema(schema)
  const onRequest = authenticator.requireRole('admin')
  app.get('/v1/instances/:id/conditions', { onRequest, schema: conditions }, async (request) => {
    const instance = await findInstanceOf(db, request.params.id, organizationsOf(principalOf(request)))
    if (!instance) throw notFound('instance')
    return readConditions(deps, instance)
  })
}
