import { type Static, Type } from 'typebox'
import { grantedFields, grantedShown, showGranted } from '../access-keys/granted.ts'
import { findIssuerRules } from '../access-keys/queries.ts'
import { type Authenticator, principalOf } from '../callers/authenticator.ts'
import { organizationsOf, originOf } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { AccessKeyRow, TrustedIssuerRow } from '../db/tables.ts'
import { notFound } from '../errors/problem.ts'
import { pageOf, pageQuery, readCursor, toPage } from '../http/page.ts'
import { problems, problemsWithBody } from '../http/problem-schema.ts'
import { Id, IdParams, isoTime, NullableText, refTo, Time } from '../http/schemas.ts'
import type { App } from '../http/server.ts'
import type { ClaimPattern } from './claims.ts'
import { createTrustedIssuer } from './create-trusted-issuer.ts'
import { deleteTrustedIssuer } from './delete-trusted-issuer.ts'
import { findTrustedIssuer, listTrustedIssuers } from './queries.ts'

const tags = ['Access keys']
const MOST_RULES = 100
const MOST_PATTERNS = 20

const pattern = { type: 'string', minLength: 1, maxLength: 500 }
const Claims = Type.Unsafe<Record<string, ClaimPattern>>({
  type: 'object',
  minProperties: 1,
  maxProperties: MOST_PATTERNS,
  propertyNames: { minLength: 1, maxLength: 200 },
  additionalProperties: {
    anyOf: [pattern, { type: 'array', items: pattern, minItems: 1, maxItems: MOST_PATTERNS }],
  },
  description:
    'Every claim that is named must be there and match: `*` stands for any characters but `/`, `**` for any. One pattern of a list has to match, and one value of a claim that has several. A name that begins with `/` is a JSON pointer (RFC 6901), such as `/kubernetes.io/namespace`.',
  examples: [{ project_path: 'acme/*', ref_protected: 'true' }],
})

const fields = {
  issuer: Type.String({
    minLength: 1,
    maxLength: 2048,
    description: 'The claim `iss`, to the letter.',
    examples: ['https://gitlab.com'],
  }),
  audience: Type.String({
    minLength: 1,
    maxLength: 500,
    pattern: '^[^\\x00-\\x1f]+$',
    description: 'What the claim `aud` has to hold: a name of this broker that no other service goes by.',
    examples: ['https://broker.example.com'],
  }),
}
const Mode = Type.Union([Type.Literal('enforce'), Type.Literal('audit_only')], {
  description: 'audit_only: tokens are verified and recorded in the log, and not accepted.',
})

const Rule = Type.Object({
  id: Id('Of the rule: leases and audit events name it as the access key.'),
  claims: Claims,
  ...grantedShown,
})

const TrustedIssuer = Type.Object(
  {
    id: Id('Of the trusted issuer.'),
    ...fields,
    jwks_uri: NullableText('Where its keys are; null = where its discovery document says.'),
    allow_private_network: Type.Boolean(),
    ca_certificate: NullableText('PEM of the private certificate authority.'),
    mode: Mode,
    rules: Type.Array(Rule, { description: 'The first one that matches counts.' }),
    created_at: Time('When it was added'),
  },
  { $id: 'TrustedIssuer', description: 'An issuer whose tokens stand for workloads.' },
)

const TrustedIssuerPage = pageOf('TrustedIssuerPage', TrustedIssuer)

const list = {
  operationId: 'listTrustedIssuers',
  tags,
  summary: 'List trusted issuers',
  description: 'Those all of whose rules are for organizations of yours.',
  querystring: Type.Object(pageQuery, { additionalProperties: false }),
  response: { 200: refTo(TrustedIssuerPage), ...problems() },
}

const create = {
  operationId: 'createTrustedIssuer',
  tags,
  summary: 'Trust an issuer',
  description:
    'Workloads then present a JWT of this issuer in place of an access key: of GitLab CI (id_tokens), of a Kubernetes service account, of any OpenID Connect provider. It never changes: to change it, delete it and create it anew.',
  body: Type.Object(
    {
      ...fields,
      jwks_uri: Type.Optional(
        Type.String({
          minLength: 1,
          maxLength: 2048,
          description: 'Where its keys are. Left out: its discovery document is asked.',
        }),
      ),
      allow_private_network: Type.Optional(
        Type.Boolean({
          default: false,
          description:
            'Whether it may be at a private address, or without TLS. Takes a key for all organizations.',
        }),
      ),
      ca_certificate: Type.Optional(
        Type.Union([Type.String({ maxLength: 50_000 }), Type.Null()], {
          description: 'PEM of its private certificate authority. Takes a key for all organizations.',
        }),
      ),
      mode: Type.Optional(Mode),
      rules: Type.Array(
        Type.Object(
          {
            claims: Claims,
            ...grantedFields,
            role: Type.Optional({ ...grantedFields.role, default: 'scanner' }),
          },
          { additionalProperties: false },
        ),
        {
          minItems: 1,
          maxItems: MOST_RULES,
          description: 'What which token may do. The first one that matches counts.',
        },
      ),
    },
    {
      additionalProperties: false,
      examples: [
        {
          issuer: 'https://gitlab.com',
          audience: 'https://broker.example.com',
          rules: [{ claims: { project_path: 'acme/*', ref_protected: 'true' }, organizations: ['acme'] }],
        },
      ],
    },
  ),
  response: { 201: refTo(TrustedIssuer), ...problemsWithBody('not_found', 'trusted_issuer_exists') },
}

const read = {
  operationId: 'getTrustedIssuer',
  tags,
  summary: 'Read a trusted issuer',
  description: 'With its rules, in the order in which they are tried.',
  params: IdParams,
  response: { 200: refTo(TrustedIssuer), ...problems('not_found') },
}

const remove = {
  operationId: 'deleteTrustedIssuer',
  tags,
  summary: 'Trust an issuer no longer',
  description: 'Its tokens stop working at once, on every replica.',
  params: IdParams,
  response: { 204: Type.Null({ description: 'Deleted.' }), ...problems('not_found') },
}

const toTrustedIssuer = (row: TrustedIssuerRow, rows: AccessKeyRow[]): Static<typeof TrustedIssuer> => {
  const granted = new Map(rows.map((rule) => [rule.id, rule]))
  return {
    id: row.id,
    issuer: row.issuer,
    audience: row.audience,
    jwks_uri: row.jwks_uri,
    allow_private_network: row.allow_private_network,
    ca_certificate: row.ca_certificate,
    mode: row.mode,
    rules: row.rules.flatMap(({ access_key_id: id, claims }) => {
      const rule = granted.get(id)
      return rule ? [{ id, claims, ...showGranted(rule) }] : []
    }),
    created_at: isoTime(row.created_at),
  }
}

type Deps = { db: Database; clock: Clock; authenticator: Authenticator }

export const registerTrustedIssuerRoutes = (app: App, deps: Deps): void => {
  const { db, authenticator } = deps
  const onRequest = authenticator.requireRole('admin')
  for (const schema of [TrustedIssuer, TrustedIssuerPage]) app.addSchema(schema)

  app.get('/v1/trusted-issuers', { onRequest, schema: list }, async (request) => {
    const { limit = 20, cursor } = request.query
    const organizations = organizationsOf(principalOf(request))
    const rows = await listTrustedIssuers(db, { organizations, after: readCursor(cursor), limit: limit + 1 })
    const rules = await findIssuerRules(
      db,
      rows.map(({ id }) => id),
    )
    return toPage(rows, limit, (row) => toTrustedIssuer(row, rules))
  })

  app.post('/v1/trusted-issuers', { onRequest, schema: create }, async (request, reply) => {
    const { issuer, rules } = await createTrustedIssuer(
      deps,
      request.body,
      principalOf(request),
      originOf(request),
    )
    return reply.code(201).send(toTrustedIssuer(issuer, rules))
  })

  app.get('/v1/trusted-issuers/:id', { onRequest, schema: read }, async (request) => {
    const row = await findTrustedIssuer(db, request.params.id, organizationsOf(principalOf(request)))
    if (!row) throw notFound('trusted issuer')
    return toTrustedIssuer(row, await findIssuerRules(db, [row.id]))
  })

  app.delete('/v1/trusted-issuers/:id', { onRequest, schema: remove }, async (request, reply) => {
    await deleteTrustedIssuer(deps, request.params.id, principalOf(request), originOf(request))
    return reply.code(204).send(null)
  })
}
