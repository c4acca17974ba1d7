/** `__Host-` binds a cookie to this host over https; plain http, used on loopback only, cannot have it. */
export const cookieName = (name: string, publicUrl: string): string =>
  publicUrl.startsWith('https:') && new URL(publicUrl).pathname === '/' ? `__Host-${name}` : name
