import type { IncomingHttpHeaders } from 'node:http'
import { brotliDecompressSync, gunzipSync, inflateRawSync, inflateSync, zstdDecompressSync } from 'node:zlib'

/** Asked for in every request. Some servers and gateways compress all the same. */
export const NOT_COMPRESSED = { 'accept-encoding': 'identity' } as const

type Unpack = (bytes: Buffer, options: { maxOutputLength: number }) => Buffer

/** Servers send the bare data as well as the one with the header of zlib (RFC 9110, section 8.4.1.2). */
const inflate: Unpack = (bytes, options) => {
  const isZlib = ((bytes[0] ?? 0) & 0x0f) === 8 && bytes.length > 1 && bytes.readUInt16BE(0) % 31 === 0
  return isZlib ? inflateSync(bytes, options) : inflateRawSync(bytes, options)
}

const UNPACK = new Map<string, Unpack>([
  ['gzip', gunzipSync],
  ['x-gzip', gunzipSync],
  ['deflate', inflate],
  ['br', brotliDecompressSync],
  ['zstd', zstdDecompressSync],
])
/** As many as anybody applies. */
const MOST_ENCODINGS = 3

const isTooLong = (error: unknown): boolean => (error as { code?: unknown })?.code === 'ERR_BUFFER_TOO_LARGE'

/**
 * The body without its content encodings (RFC 9110, section 8.4), the last one first. What is not encoded as the header
 * says stays as it is: a gateway may have unpacked it and kept the header.
 * @returns undefined = longer than maxBytes
 */
export const unpackBody = (
  bytes: Buffer,
  { 'content-encoding': encodings = '' }: IncomingHttpHeaders,
  maxBytes: number,
): Buffer | undefined => {
  const names = encodings.toLowerCase().split(',', MOST_ENCODINGS)
  let body = bytes
  for (const name of names.reverse()) {
    const unpack = UNPACK.get(name.trim())
    try {
      if (unpack && body.length > 0) body = unpack(body, { maxOutputLength: maxBytes })
    } catch (error) {
      if (isTooLong(error)) return undefined
    }
  }
  return body
}
