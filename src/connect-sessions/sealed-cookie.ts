import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Clock } from '../clock/clock.ts'
import { cookieName } from '../http/cookie-name.ts'
import type { Vault } from '../vault/vault.ts'
import { createSealer } from './sealer.ts'

/** A cookie of which the browser knows only that it has it: a JWE of the data keys, so every replica reads it. */
export type SealedCookie<Content> = {
  /** undefined when there is none, or it was changed, is past its end, or belongs to another service. */
  read(request: FastifyRequest): Promise<Content | undefined>
  write(reply: FastifyReply, content: Content, until: Date): Promise<void>
  clear(reply: FastifyReply): void
}

export type SealedCookieDeps = { vault: Vault; clock: Clock; publicUrl: string }

/**
 * SameSite=Lax: GitLab and a platform send people here by links and redirects. What changes something is therefore
 * checked besides, see connect-page/visit/same-origin.ts. Ends with the browser, and at `until` by our clock.
 */
export const createSealedCookie = <Content>(
  { publicUrl, ...deps }: SealedCookieDeps,
  name: string,
): SealedCookie<Content> => {
  const fullName = cookieName(name, publicUrl)
  const sealer = createSealer<Content>(deps, name, 'cookie')
  const options = {
    path: new URL(publicUrl).pathname,
    secure: publicUrl.startsWith('https:'),
    httpOnly: true,
    sameSite: 'lax',
  } as const

  return {
    async read(request) {
      const jwe = request.cookies[fullName]
      return jwe ? sealer.open(jwe) : undefined
    },
    async write(reply, content, until) {
      reply.setCookie(fullName, await sealer.seal(content, until), options)
    },
    clear(reply) {
      reply.clearCookie(fullName, options)
    },
  }
}
