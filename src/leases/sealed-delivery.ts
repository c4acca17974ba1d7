import { hash, randomBytes } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import { encryptFor } from '../callers/encryption-key.ts'
import type { Principal } from '../callers/principal.ts'
import { addSeconds, type Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { Problem } from '../errors/problem.ts'
import { Id, isoTime, Organization, Time } from '../http/schemas.ts'
import { toCredential } from './credential.ts'
import type { LeasedToken } from './lease-token.ts'
import { sealedAnswerRequired } from './require-delivery.ts'
import type { Delivery } from './serving-decision.ts'
import { insertWrappedLease } from './wrapped/queries.ts'

/**
 * How a credential leaves: plain; sealed, as a JWE that only the holder of the caller's encryption key opens; or wrapped,
 * as a handle with which the token is fetched once (wrapped/open-lease.ts). A plain answer takes no step more than it did.
 */

const JOSE = 'application/jose'
/** A handle that lies in a queue for longer is worth asking again. */
const HANDLE_SECONDS = 60
const HANDLE_BYTES = 32

export const WrappedCredential = Type.Object(
  {
    lease_id: Id('Of the lease.'),
    connection_id: Id('Of the connection.'),
    organization: Organization,
    base_url: Type.String({ description: 'Of the GitLab instance.' }),
    handle: Type.String({ description: 'Opens the lease once: POST /v1/leases/{id}/open.' }),
    expires_at: Time('When the handle ends'),
  },
  { $id: 'WrappedCredential', description: 'What `wrap=true` answers in place of a token.' },
)

export const wrapQuery = {
  wrap: Type.Optional(
    Type.Boolean({
      description:
        'true: answers a handle in place of the token, for a queue or a log in between. It opens once, within a minute.',
    }),
  ),
}

const Refs = { Credential: { $ref: 'Credential#' }, WrappedCredential: { $ref: 'WrappedCredential#' } }

/** The answers of an operation that hands out a credential, for openapi.yaml. */
export const describeAnswers = ({ wraps = false } = {}) => ({
  200: {
    description: `The credential${wraps ? ', or with `wrap=true` a handle in its place' : ''}. With \`Accept: application/jose\` a compact JWE (RFC 7516) of it for the encryption_key of the caller.`,
    content: {
      'application/json': {
        schema: wraps ? { anyOf: [Refs.Credential, Refs.WrappedCredential] } : Refs.Credential,
      },
      [JOSE]: { schema: Type.String() },
    },
  },
})

/** Media types of Accept (RFC 9110, section 12.5.1), without those that are refused by q=0. */
const acceptedTypes = (accept: string): string[] =>
  accept
    .toLowerCase()
    .split(',')
    .map((range) => range.split(';').map((part) => part.trim()))
    .filter(([, ...parameters]) => !parameters.some((parameter) => /^q=0(\.0{0,3})?$/.test(parameter)))
    .map(([type = '']) => type)

const PLAIN = ['application/json', 'application/*', '*/*']

/**
 * How this caller gets a credential.
 * @throws {Problem} no_encryption_key, sealed_answer_required
 */
export const deliveryFor = (
  { headers: { accept } }: Pick<FastifyRequest, 'headers'>,
  { encryptionKey, requiresSealed }: Principal,
  { wrap = false }: { wrap?: boolean | undefined } = {},
): Delivery => {
  if (wrap) return 'wrapped'
  if (accept?.toLowerCase().includes(JOSE)) {
    const accepted = acceptedTypes(accept)
    if (accepted.includes(JOSE) && encryptionKey) return 'sealed'
    if (accepted.includes(JOSE) && !PLAIN.some((type) => accepted.includes(type)))
      throw new Problem('no_encryption_key', 'Your access key has no encryption_key to seal an answer for.')
  }
  if (requiresSealed) throw sealedAnswerRequired()
  return 'plain'
}

export const hashHandle = (handle: string): Buffer => hash('sha256', handle, 'buffer')

export type CredentialSender = (
  reply: FastifyReply,
  principal: Principal,
  leased: LeasedToken,
  delivery: Delivery,
) => FastifyReply | Promise<FastifyReply>

export const createCredentialSender = ({ db, clock }: { db: Database; clock: Clock }): CredentialSender => {
  const wrap = async ({ row }: LeasedToken): Promise<Static<typeof WrappedCredential>> => {
    const { lease_id, connection_id, organization, base_url } = row
    const handle = randomBytes(HANDLE_BYTES).toString('base64url')
    const expiresAt = addSeconds(new Date(clock()), HANDLE_SECONDS)
    await insertWrappedLease(db, {
      lease_id,
      handle_sha256: hashHandle(handle),
      expires_at: expiresAt,
      opened_at: null,
    })
    return { lease_id, connection_id, organization, base_url, handle, expires_at: isoTime(expiresAt) }
  }

  return (reply, { encryptionKey }, leased, delivery) => {
    reply.header('cache-control', 'no-store')
    if (delivery === 'plain') return reply.send(toCredential(leased, new Date(clock())))
    if (delivery === 'wrapped')
      return wrap(leased).then((wrapped) =>
        reply.type('application/json').serializer(JSON.stringify).send(wrapped),
      )
    if (!encryptionKey) throw new Error('A sealed answer takes an encryption key')
    const credential = JSON.stringify(toCredential(leased, new Date(clock())))
    return encryptFor(encryptionKey, credential, { cty: 'json' }).then((jwe) =>
      reply.type(JOSE).serializer(String).send(jwe),
    )
  }
}
