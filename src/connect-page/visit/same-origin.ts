import type { FastifyRequest } from 'fastify'

const originOf = (text: string | undefined): string | undefined =>
  text !== undefined && URL.canParse(text) ? new URL(text).origin : undefined

/**
 * Whether a page of ours sent this request (Fetch Metadata, W3C): the protection against cross-site request forgery
 * of everything on the page that changes something, sign-in included. A connect link works from anywhere. Browsers name the initiator themselves, and no
 * page can make them lie. Those that do not (plain http beyond loopback) tell the origin.
 */
export const isFromOurPage = ({ headers }: FastifyRequest, publicUrl: string): boolean => {
  const site = headers['sec-fetch-site']
  if (site !== undefined) return site === 'same-origin'
  const origin = originOf(headers.origin ?? headers.referer)
  return origin !== undefined && origin === new URL(publicUrl).origin
}
