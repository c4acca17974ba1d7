import { createHash } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'

/** A text that stays what it is while the process runs: encoded once, and not sent to who has it. */
export type ServedText = { type: string; body: Buffer; etag: string }

export const toServedText = (type: string, text: string): ServedText => {
  const body = Buffer.from(text)
  return { type, body, etag: `"${createHash('sha256').update(body).digest('base64url')}"` }
}

/** RFC 9110, section 13.1.2: a list, compared weakly. */
const isKnown = (ifNoneMatch: string | undefined, etag: string): boolean =>
  ifNoneMatch?.split(',').some((known) => ['*', etag, `W/${etag}`].includes(known.trim())) ?? false

export const sendText = (
  request: FastifyRequest,
  reply: FastifyReply,
  { type, body, etag }: ServedText,
): FastifyReply => {
  reply.header('etag', etag).header('cache-control', 'no-cache')
  return isKnown(request.headers['if-none-match'], etag)
    ? reply.code(304).send()
    : reply.type(type).send(body)
}
