/**
 * The content security policy of a page: nothing but our own files, and forms to ourselves.
 *
 * Chromium holds every redirect that follows a form to form-action of the page with the form. The form that starts
 * OAuth leads to GitLab by a redirect, and GitLab may send people on to the servers that sign them in (SAML, an
 * identity provider, a proxy in front): a chain that no list can name, and that ends at the return_url, where it may go
 * on. So a page with such a form allows any https server after a form, and plain http only where the first stop is
 * plain http. What form-action would hold back there is a form that somebody else has put into our page; scripts and
 * styles from elsewhere stay forbidden, templates escape all they show, and every form of ours names its own target.
 * @param formsLeadTo where forms of this page lead by redirects; empty = only to ourselves
 */
export const contentSecurityPolicy = (formsLeadTo: readonly string[] = []): string => {
  const schemes = formsLeadTo.some((url) => url.startsWith('http:')) ? ' https: http:' : ' https:'
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    // Pico draws its arrows as data: URLs.
    "img-src 'self' data:",
    "connect-src 'self'",
    `form-action 'self'${formsLeadTo.length > 0 ? schemes : ''}`,
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
}
