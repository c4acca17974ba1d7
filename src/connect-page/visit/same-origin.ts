import type { FastifyRequest } from 'fastify'

/**
 * Whether a page of ours sent this request: the protection against cross-site request forgery of everything that
 * changes something, sign-in included. Browsers name the initiator themselves (Fetch Metadata, W3C; Origin, RFC 6454),
 * and no page can make them lie. A request that names no initiator is refused, as is one whose two names differ: a
 * host name that was pointed at us (DNS rebinding) makes its own pages "same-origin", but not of our origin.
 */
export const isFromOurPage = ({ headers }: FastifyRequest, publicUrl: string): boolean => {
  const { origin, 'sec-fetch-site': site } = headers
  if (site !== undefined && site !== 'same-origin') return false
  if (origin !== undefined && origin !== new URL(publicUrl).origin) return false
  return site !== undefined || origin !== undefined
}
