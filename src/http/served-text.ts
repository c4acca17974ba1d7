import { createHash } from 'node:crypto'
import { promisify } from 'node:util'
import { brotliCompress, gzip } from 'node:zlib'
import type { FastifyReply, FastifyRequest } from 'fastify'

type Compress = (body: Buffer) => Promise<Buffer>

/** Names of the header Accept-Encoding. The first one gives the shortest answer. */
const ENCODINGS: [name: string, compress: Compress][] = [
  ['br', promisify<Buffer, Buffer>(brotliCompress)],
  ['gzip', promisify<Buffer, Buffer>(gzip)],
]

/** A text that does not change while the process runs. It is encoded once. A client that has it gets 304. */
export type ServedText = {
  type: string
  body: Buffer
  hash: string
  /** Compressed with the first request that asks for it. */
  encoded: Map<string, Promise<Buffer>>
}

export const toServedText = (type: string, text: string | Buffer): ServedText => {
  const body = Buffer.from(text)
  return {
    type,
    body,
    hash: createHash('sha256').update(body).digest('base64url'),
    encoded: new Map(),
  }
}

/** RFC 9110, section 13.1.2: a list, compared weakly. */
const isKnown = (ifNoneMatch: string | undefined, etag: string): boolean =>
  ifNoneMatch?.split(',').some((known) => ['*', etag, `W/${etag}`].includes(known.trim())) ?? false

/** RFC 9110, section 12.5.3; `q=0` means that the client does not take it. */
const takes = (acceptEncoding: string, name: string): boolean =>
  acceptEncoding
    .toLowerCase()
    .split(',')
    .map((part) => part.split(';').map((piece) => piece.trim()))
    .some(([encoding, quality = 'q=1']) => encoding === name && Number(quality.replace('q=', '')) > 0)

const encode = (text: ServedText, [name, compress]: (typeof ENCODINGS)[number]): Promise<Buffer> => {
  const known = text.encoded.get(name)
  if (known) return known
  const started = compress(text.body)
  text.encoded.set(name, started)
  return started
}

export const sendText = async (
  request: FastifyRequest,
  reply: FastifyReply,
  text: ServedText,
  cacheControl = 'no-cache',
): Promise<FastifyReply> => {
  const accepted = request.headers['accept-encoding'] ?? ''
  const encoding = ENCODINGS.find(([name]) => takes(String(accepted), name))
  // Other bytes have another tag.
  const etag = encoding ? `"${text.hash}-${encoding[0]}"` : `"${text.hash}"`
  reply.header('vary', 'accept-encoding').header('etag', etag).header('cache-control', cacheControl)
  if (isKnown(request.headers['if-none-match'], etag)) return reply.code(304).send()
  if (!encoding) return reply.type(text.type).send(text.body)
  const body = await encode(text, encoding)
  return reply.header('content-encoding', encoding[0]).type(text.type).send(body)
}
