import { Readable } from 'node:stream'
import type { FastifyError, FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { type Principal, requireOneOrganization } from '../callers/principal.ts'
import { invalidField, Problem } from '../errors/problem.ts'
import { toProblem } from '../http/errors.ts'
import { problemsWithBody } from '../http/problem-schema.ts'
import { NullableText, Organization, refTo } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import { readUrl } from '../lookup/locate.ts'
import { Url } from '../lookup/routes.ts'
import { failed, OUTCOMES } from './check.ts'
import { CHECK_NAMES, runChecks } from './checks.ts'
import { type GatherDeps, gatherFacts } from './gather.ts'
import { inCompletionOrder } from './in-completion-order.ts'

const NDJSON = 'application/x-ndjson'
const MOST_URLS = 1000
/** Of one request; the guard of each GitLab limits what all together send. */
const AT_ONCE = 8
const LONGEST_SCAN_SECONDS = 7 * 86_400
const BODY_LIMIT_BYTES = 1_048_576

const Check = Type.Object(
  {
    name: Type.String({
      enum: ['url', ...CHECK_NAMES],
      description:
        '`instance`: the GitLab is known. `connection`: one covers the URL, and why this one. `status`: it is active. `token`: a working one is at hand. `scopes`: they suffice to read code. `git`: GitLab serves the repository to the token. `project`: the API shows the project. `lifetime`: the token lives to the end of the scan. `url`: the URL cannot be checked.',
    }),
    outcome: Type.String({
      enum: [...OUTCOMES],
      description: 'fail: the scan cannot succeed. warn: it can, if you heed the cure.',
    }),
    detail: Type.String({ description: 'What was found, for people.' }),
    cure: NullableText('What to do about it. null: nothing.'),
  },
  { $id: 'PreflightCheck', description: 'One thing that was looked at.' },
)

const Preflight = Type.Object(
  {
    url: Type.String({ description: 'As you sent it, without credentials.' }),
    ready: Type.Boolean({ description: 'No check fails.' }),
    checks: Type.Array(refTo(Check), { description: 'In the order in which a person would look.' }),
  },
  { $id: 'Preflight', description: 'Whether a repository can be scanned, now and to the end.' },
)

const Preflights = Type.Object(
  {
    ready: Type.Boolean({ description: 'Every repository is ready.' }),
    results: Type.Array(refTo(Preflight), { description: 'In the order of the URLs.' }),
  },
  { $id: 'Preflights', description: 'The answer to `urls`.' },
)

const preflight = {
  operationId: 'preflightCredential',
  tags: ['Credentials'],
  summary: 'Check whether repositories can be scanned',
  description:
    "Looks before you scan: which connection matches and why, whether the token works, and what GitLab's Git endpoint and API say of the repository. Each check has an outcome, what was found, and the cure. The service uses the token itself and gives none out. Send `url` for one repository, or `urls` for up to 1,000. With `Accept: application/x-ndjson` each result is a line of its own, as soon as it is there.",
  body: Type.Object(
    {
      url: Type.Optional(Url),
      urls: Type.Optional(
        Type.Array(Url, { minItems: 1, maxItems: MOST_URLS, description: 'Instead of `url`.' }),
      ),
      organization: Type.Optional(Organization),
      scan_seconds: Type.Optional(
        Type.Integer({
          minimum: 1,
          maximum: LONGEST_SCAN_SECONDS,
          description: 'How long the scan takes.',
          examples: [3600],
        }),
      ),
    },
    {
      additionalProperties: false,
      examples: [{ url: 'https://gitlab.com/acme/web-shop.git', organization: 'acme', scan_seconds: 3600 }],
    },
  ),
  response: {
    ...problemsWithBody('not_found', 'organization_required'),
  },
  described: {
    200: {
      description: 'The checks; of `urls` for each.',
      content: {
        'application/json': { schema: { anyOf: [{ $ref: 'Preflight#' }, { $ref: 'Preflights#' }] } },
        [NDJSON]: {
          schema: Type.String({ description: 'One Preflight a line, in the order in which they end.' }),
        },
      },
    },
  },
}

type Result = Static<typeof Preflight>
type Wanted = { organization: string | undefined; scanSeconds: number | undefined }

/** A URL may have been copied with the token in it; so may a token instead of the URL. */
const withoutCredentials = (url: string): string =>
  url.replace(/\/\/[^/?#\s]*@/g, '//').replace(/\bgl[a-z]{2,10}-[\w.-]{8,}/gi, '[removed]')

/** What is wrong with one URL is said there, and keeps the others from nothing. */
const preflightOf = async (
  deps: GatherDeps,
  request: FastifyRequest,
  principal: Principal,
  url: string,
  wanted: Wanted,
): Promise<Result> => {
  try {
    return {
      url: withoutCredentials(url),
      ...runChecks(await gatherFacts(deps, principal, { url, ...wanted })),
    }
  } catch (error) {
    let problem = toProblem(error as FastifyError)
    if (!problem) {
      request.log.error({ err: error, request_id: request.id }, 'unexpected error')
      problem = new Problem('internal_error', 'Something went wrong here.')
    }
    const cure = problem.code === 'invalid_request' ? 'Correct the URL.' : 'Ask again later.'
    return {
      url: withoutCredentials(url),
      ready: false,
      checks: [{ name: 'url', ...failed(problem.message, cure) }],
    }
  }
}

const wantsLines = ({ headers }: FastifyRequest): boolean =>
  headers.accept?.toLowerCase().includes(NDJSON) ?? false

export const registerPreflightRoutes = (
  app: App,
  deps: GatherDeps & { authenticator: Authenticator },
): void => {
  const onRequest = deps.authenticator.requireRole('scanner')
  for (const schema of [Check, Preflight, Preflights]) app.addSchema(schema)

  app.post(
    '/v1/credentials/preflight',
    { onRequest, schema: preflight, bodyLimit: BODY_LIMIT_BYTES },
    async (request, reply) => {
      const principal = principalOf(request)
      const { url, urls, organization, scan_seconds: scanSeconds } = request.body
      if ((url === undefined) === (urls === undefined))
        throw invalidField('url', 'or urls is required, and not both')
      const wanted = { organization, scanSeconds }
      const all = urls ?? [url as string]
      const first = all[0] as string
      // What is wrong with the request as a whole is a problem, and not a result of each URL.
      requireOneOrganization(principal, organization)
      if (url !== undefined) readUrl(url)
      const results = inCompletionOrder([...all.keys()], AT_ONCE, async (position) => ({
        position,
        result: await preflightOf(deps, request, principal, all[position] ?? first, wanted),
      }))
      if (wantsLines(request))
        return reply
          .type(NDJSON)
          .serializer(String)
          .send(Readable.from(toLines(results)))
      const inOrder: Result[] = []
      for await (const { position, result } of results) inOrder[position] = result
      reply.type('application/json; charset=utf-8').serializer(JSON.stringify)
      if (urls === undefined) return reply.send(inOrder[0] as Result)
      return reply.send({ ready: inOrder.every(({ ready }) => ready), results: inOrder })
    },
  )
}

async function* toLines(results: AsyncIterable<{ result: Result }>): AsyncGenerator<string> {
  for await (const { result } of results) yield `${JSON.stringify(result)}\n`
}
