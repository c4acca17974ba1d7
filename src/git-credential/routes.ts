import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { refusedRequest } from '../audit/note-refusals.ts'
import type { Refusals } from '../audit/refusals.ts'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import type { Database } from '../db/database.ts'
import { type ProblemCode, statusOf, titleOf } from '../errors/catalogue.ts'
import { Problem } from '../errors/problem.ts'
import { toProblem } from '../http/errors.ts'
import { Organization } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import { credentialQuery } from '../leases/credential.ts'
import type { Rejections } from '../leases/reject-lease.ts'
import type { FindByUrlDeps } from '../lookup/find-by-url.ts'
import { eraseCredential } from './erase-credential.ts'
import { getCredential } from './get-credential.ts'
import { readGitRequest, writeCredential, writeReason, writeRefusal } from './wire.ts'

const tags = ['Credentials']
const TEXT = 'text/plain'
/** curl sends this content type when its user names none. */
const FORM = 'application/x-www-form-urlencoded'
const LONGEST_BODY = 65_536

const FAILURES: ProblemCode[] = [
  'invalid_request',
  'unauthorized',
  'forbidden',
  'payload_too_large',
  'unsupported_media_type',
  'unknown_host',
  'rate_limited',
  'internal_error',
  'issuer_unavailable',
  'database_unavailable',
  'overloaded',
]

const text = (description: string, example: string) => ({
  description,
  content: { [TEXT]: { schema: Type.String({ examples: [example] }) } },
})

const failures = Object.fromEntries(
  [...Map.groupBy(FAILURES, statusOf)].map(([status, codes]) => [
    status,
    text(
      codes.map((code) => `\`${code}\`: ${titleOf(code)}.`).join(' '),
      `quit=true\ncode=${codes[0]}\nreason=gitlab-token-broker: why (${codes[0]})\n`,
    ),
  ]),
)

const body = Type.String({
  maxLength: LONGEST_BODY,
  description: 'The attributes as Git writes them: one key=value a line.',
  examples: ['protocol=https\nhost=gitlab.com\npath=acme/web-shop.git\n'],
})

/** The same for all three, so that a helper has one address. */
const querystring = Type.Object(
  {
    organization: Type.Optional(Organization),
    min_ttl: credentialQuery.min_ttl,
    purpose: credentialQuery.purpose,
  },
  { additionalProperties: false },
)
const ANSWERED = text(
  'Nothing, or `code` and `reason`: why nothing was done.',
  'code=token_works\nreason=gitlab-token-broker: why (token_works)\n',
)

const get = {
  operationId: 'getGitCredential',
  tags,
  summary: "Answer Git's credential helper: get",
  description:
    "Git's credential protocol over HTTP, so that a helper is one line. The answer holds `username`, `password` and `password_expiry_utc`; for a Git that announces the capabilities also `ephemeral` and `state[]`. A refusal is an answer, too: `quit=true` keeps Git from asking anybody else, `code` and `reason` tell why, and the helper prints the reason. Set credential.useHttpPath=true, so that Git sends the path of the repository. Without a path the answer is a token only when your organization has one connection on the host, and that connection covers the whole instance.",
  consumes: [TEXT],
  querystring,
  body,
  response: {
    200: text(
      'The credential, or `quit=true`.',
      'username=oauth2\npassword=glpat-…\npassword_expiry_utc=1790000000\n',
    ),
    ...failures,
  },
}

const store = {
  operationId: 'storeGitCredential',
  tags,
  summary: "Answer Git's credential helper: store",
  description: 'Does nothing: the service has the token already.',
  consumes: [TEXT],
  querystring,
  body,
  response: { 200: ANSWERED, ...failures },
}

const erase = {
  operationId: 'eraseGitCredential',
  tags,
  summary: "Answer Git's credential helper: erase",
  description:
    'Git reports that GitLab refused the password. The service asks GitLab once about the token, and has a dead one replaced: the next `get` answers the new one. The lease is the one under which this password was handed out to your key. A password that is no current token of yours changes nothing.',
  consumes: [TEXT],
  querystring,
  body,
  response: { 200: ANSWERED, ...failures },
}

type Deps = FindByUrlDeps & {
  db: Database
  authenticator: Authenticator
  rejections: Rejections
  refusals: Refusals
}

const sendText = (reply: FastifyReply, lines: string): FastifyReply =>
  reply.header('cache-control', 'no-store').type('text/plain; charset=utf-8').send(lines)

/** Requests that fail before they are understood end Git as well, and say why. */
const answerFailures =
  (refusals: Refusals) =>
  (error: FastifyError, request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    refusals.noteError(error, refusedRequest(request))
    let problem = toProblem(error)
    if (!problem) {
      request.log.error({ err: error, request_id: request.id }, 'unexpected error')
      problem = new Problem('internal_error', `The log has it under the request_id ${request.id}.`)
    }
    if (problem.code === 'unsupported_media_type')
      problem = new Problem(problem.code, `Send the lines of Git as ${TEXT}.`)
    const { retryAfterSeconds } = problem.extras
    if (retryAfterSeconds !== undefined)
      reply.header('retry-after', Math.max(1, Math.ceil(retryAfterSeconds)))
    if (problem.code === 'unauthorized')
      reply.header('www-authenticate', 'Bearer realm="gitlab-token-broker"')
    return sendText(reply.code(statusOf(problem.code)), writeRefusal(problem))
  }

/** The failures of the database keep their status; every other problem is an answer that Git can act upon. */
const isAnswer = (error: unknown): error is Problem =>
  error instanceof Problem && error.code !== 'unauthorized' && error.code !== 'database_unavailable'

/** In a scope of its own: text in, text out, and errors as Git's helper can pass them on. */
export const registerGitCredentialRoutes = (scope: App, deps: Deps): void => {
  const { authenticator, refusals } = deps
  const onRequest = authenticator.requireRole('scanner')
  scope.removeAllContentTypeParsers()
  for (const type of [TEXT, FORM])
    scope.addContentTypeParser(type, { parseAs: 'string' }, (_request, lines, done) => done(null, lines))
  scope.setErrorHandler(answerFailures(refusals))

  scope.post('/v1/git-credential/get', { onRequest, schema: get }, async (request, reply) => {
    const { organization, min_ttl, purpose } = request.query
    const asked = readGitRequest(request.body)
    try {
      const options = { organization, minTtl: min_ttl, purpose }
      const leased = await authenticator.identifyAgainIfNotFound(request, 'scanner', (principal) =>
        getCredential(deps, principal, asked, options),
      )
      return sendText(reply, writeCredential(leased, asked))
    } catch (error) {
      if (!isAnswer(error)) throw error
      return sendText(reply, writeRefusal(error))
    }
  })

  scope.post('/v1/git-credential/store', { onRequest, schema: store }, async (_request, reply) =>
    sendText(reply, ''),
  )

  scope.post('/v1/git-credential/erase', { onRequest, schema: erase }, async (request, reply) => {
    const asked = readGitRequest(request.body)
    try {
      await eraseCredential(deps, principalOf(request), asked, request.query)
      return sendText(reply, '')
    } catch (error) {
      if (!isAnswer(error)) throw error
      return sendText(reply, writeReason(error))
    }
  })
}
