import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Clock } from '../clock/clock.ts'
import { cookieName } from '../http/cookie-name.ts'
import { type Vault, VaultError } from '../vault/vault.ts'

/** A cookie of which the browser knows only that it has it: a JWE of the data keys, so every replica reads it. */
export type SealedCookie<Content> = {
  /** undefined when there is none, or it was changed, is past its end, or belongs to another service. */
  read(request: FastifyRequest): Promise<Content | undefined>
  write(reply: FastifyReply, content: Content, until: Date): Promise<void>
  clear(reply: FastifyReply): void
}

export type SealedCookieDeps = { vault: Vault; clock: Clock; publicUrl: string }

type Sealed<Content> = { until: number; content: Content }

/**
 * SameSite=Lax: GitLab and a platform send people here by links and redirects. What changes something is therefore
 * checked besides, see connect-page/same-origin.ts. Ends with the browser, and at `until` by our clock.
 */
export const createSealedCookie = <Content>(
  { vault, clock, publicUrl }: SealedCookieDeps,
  name: string,
): SealedCookie<Content> => {
  const fullName = cookieName(name, publicUrl)
  const binding = { ownerId: name, version: 1, use: 'cookie' } as const
  const options = {
    path: new URL(publicUrl).pathname,
    secure: publicUrl.startsWith('https:'),
    httpOnly: true,
    sameSite: 'lax',
  } as const

  return {
    async read(request) {
      const jwe = request.cookies[fullName]
      if (!jwe) return undefined
      const text = await vault.open(jwe, binding).catch((error: unknown) => {
        if (error instanceof VaultError) return undefined
        throw error
      })
      if (text === undefined) return undefined
      const { until, content } = JSON.parse(text) as Sealed<Content>
      return until > clock() ? content : undefined
    },
    async write(reply, content, until) {
      const sealed: Sealed<Content> = { until: until.getTime(), content }
      reply.setCookie(fullName, await vault.seal(JSON.stringify(sealed), binding), options)
    },
    clear(reply) {
      reply.clearCookie(fullName, options)
    },
  }
}
