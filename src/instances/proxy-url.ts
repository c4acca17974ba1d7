import { isIP } from 'node:net'
import { invalidField } from '../errors/problem.ts'
import { isAddressAllowed } from '../gitlab/addresses.ts'

const SCHEME = /^[a-z][a-z0-9+.-]*:\/\//i

/** The proxy alone, with its port. @throws {Problem} invalid_request; the message never repeats what was sent */
export const canonicalProxyUrl = (text: string): string => {
  const trimmed = text.trim()
  const url = URL.parse(SCHEME.test(trimmed) ? trimmed : `http://${trimmed}`)
  if (!url || !['http:', 'https:'].includes(url.protocol) || !url.hostname)
    throw invalidField('proxy_url', 'is not the URL of a proxy, such as http://proxy.example.com:3128')
  if (url.username || url.password)
    throw invalidField(
      'proxy_url',
      'must not hold credentials, which everybody who reads the instance would see. Set HTTPS_PROXY to the same proxy with its credentials: the service uses them for this instance, too',
    )
  if (url.pathname !== '/' || url.search || url.hash)
    throw invalidField('proxy_url', 'must be a proxy alone: no path, query or fragment')
  const host = url.hostname.replace(/^\[|\]$/g, '')
  if (isIP(host) !== 0 && !isAddressAllowed(host, true))
    throw invalidField('proxy_url', 'has an address at which there can be no proxy')
  return url.origin
}

/** @throws {Problem} invalid_request */
export const requireProxyUrl = (text: string, baseUrl: string): string => {
  const proxyUrl = canonicalProxyUrl(text)
  if (!baseUrl.startsWith('https:'))
    throw invalidField('proxy_url', 'takes an instance with https: the proxy would read the tokens')
  return proxyUrl
}
