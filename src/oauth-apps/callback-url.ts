/** One redirect URI per OAuth app, so that an answer cannot be taken for another server's (RFC 9700, section 4.4). */
export const callbackUrl = (publicUrl: string, slug: string): string => `${publicUrl}/oauth/${slug}/callback`
