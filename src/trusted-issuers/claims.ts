import type { StoredIssuerRule } from '../db/tables.ts'

/** Which rule of a trusted issuer a token falls under. Pure: no I/O. */

/** A pattern, or some of which one has to match. */
export type ClaimPattern = string | string[]

/**
 * Whether a pattern matches the whole of a text: `*` stands for any characters but `/`, `**` for any. Upper and lower
 * case differ.
 */
export const matchesGlob = (text: string, pattern: string): boolean => {
  const source = pattern
    .split(/(\*\*|\*)/)
    .map((part) => (part === '**' ? '.*' : part === '*' ? '[^/]*' : RegExp.escape(part)))
    .join('')
  return new RegExp(`^${source}$`, 'su').test(text)
}

/** A claim by its name; by a JSON pointer (RFC 6901) such as `/kubernetes.io/namespace` when it lies deeper. */
const readClaim = (claims: object, name: string): unknown => {
  if (!name.startsWith('/')) return Object.hasOwn(claims, name) ? claims[name as keyof object] : undefined
  let value: unknown = claims
  for (const token of name.slice(1).split('/')) {
    const member = token.replaceAll('~1', '/').replaceAll('~0', '~')
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, member)) return undefined
    value = value[member as keyof object]
  }
  return value
}

const SCALARS = ['string', 'number', 'boolean']

/** A claim with several values matches with one of them. */
const textsOf = (claim: unknown): string[] =>
  [claim].flat().flatMap((value) => (SCALARS.includes(typeof value) ? [String(value)] : []))

const isMet = (claims: object, [name, pattern]: [string, ClaimPattern]): boolean =>
  textsOf(readClaim(claims, name)).some((text) => [pattern].flat().some((one) => matchesGlob(text, one)))

/** The first rule all of whose claims the token has. */
export const findRule = (rules: StoredIssuerRule[], claims: object): StoredIssuerRule | undefined =>
  rules.find((rule) => Object.entries(rule.claims).every((entry) => isMet(claims, entry)))
