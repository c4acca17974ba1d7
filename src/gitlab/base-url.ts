/**
 * The base URL of a GitLab instance in its one canonical form: lower-case scheme and host, no default port, its
 * path kept (a GitLab may live under one), without trailing slash, `/api/v4` suffix, query or fragment.
 * @returns undefined when the text is no http(s) URL, or holds credentials.
 */
export const canonicalBaseUrl = (text: string): string | undefined => {
  const trimmed = text.trim()
  const withScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(trimmed) ? trimmed : `https://${trimmed}`
  if (!URL.canParse(withScheme)) return undefined
  const url = new URL(withScheme)
  if (!['http:', 'https:'].includes(url.protocol) || url.username || url.password || !url.hostname)
    return undefined
  const path = url.pathname
    .replace(/\/{2,}/g, '/')
    .replace(/\/+$/, '')
    .replace(/\/api(\/v4)?$/i, '')
  return url.origin + path
}

/** Whether the host names this machine itself (RFC 6761, section 6.3; 127.0.0.0/8; ::1), and not 127.example.com. */
export const isLoopback = (baseUrl: string): boolean => {
  const { hostname } = new URL(baseUrl)
  return (
    hostname === 'localhost' ||
    hostname.endsWith('.localhost') ||
    /^127(\.\d+){3}$/.test(hostname) ||
    hostname === '[::1]'
  )
}
