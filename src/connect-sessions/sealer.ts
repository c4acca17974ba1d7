import type { Clock } from '../clock/clock.ts'
import { type Vault, VaultError } from '../vault/vault.ts'

/** Carries what only we can read and nobody can change: a JWE of the data keys, so every replica opens it. */
export type Sealer<Content> = {
  seal(content: Content, until: Date): Promise<string>
  /** undefined when it was changed, is past its end, or was sealed for something else. */
  open(jwe: string): Promise<Content | undefined>
}

type Sealed<Content> = { until: number; content: Content }

/** @param name what is sealed: the name of a cookie, or a kind of form. */
export const createSealer = <Content>(
  { vault, clock }: { vault: Vault; clock: Clock },
  name: string,
  use: 'cookie' | 'form',
): Sealer<Content> => {
  const binding = { ownerId: name, version: 1, use } as const
  return {
    seal(content, until) {
      const sealed: Sealed<Content> = { until: until.getTime(), content }
      return vault.seal(JSON.stringify(sealed), binding)
    },
    async open(jwe) {
      const text = await vault.open(jwe, binding).catch((error: unknown) => {
        if (error instanceof VaultError) return undefined
        throw error
      })
      if (text === undefined) return undefined
      const { until, content } = JSON.parse(text) as Sealed<Content>
      return until > clock() ? content : undefined
    },
  }
}
