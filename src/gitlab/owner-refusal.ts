import type { ProblemCode } from '../errors/catalogue.ts'

/**
 * Why GitLab refuses the owner of a token, and rules of a group or an instance that refuse the token itself. None of them
 * says that the token is dead: a person lifts most of them in a minute, and the token works again. Pure.
 */

const OWNER_CODES = [
  'user_blocked',
  'user_deactivated',
  'user_pending_approval',
  'user_terms_not_accepted',
  'user_unconfirmed',
  'user_password_expired',
  'user_internal',
  'user_refused',
] as const
const POLICY_CODES = ['sso_required', 'ip_not_allowed', 'fine_grained_required'] as const

export type OwnerCode = (typeof OWNER_CODES)[number]
export type PolicyCode = (typeof POLICY_CODES)[number]
export type WaitingCode = OwnerCode | PolicyCode

/** With these the broker waits for a person, and looks again by itself. */
export const WAITING_CODES = [...OWNER_CODES, ...POLICY_CODES] as const satisfies readonly ProblemCode[]

export const isWaitingCode = (code: string | null): code is WaitingCode =>
  (WAITING_CODES as readonly (string | null)[]).includes(code)

/** Sentences of GitLab (lib/gitlab/auth/user_access_denied_reason.rb). The first that matches counts. */
const SENTENCES: [OwnerCode, RegExp][] = [
  ['user_internal', /internal users?\b/i],
  ['user_pending_approval', /pending approval/i],
  ['user_terms_not_accepted', /terms of service/i],
  ['user_deactivated', /deactivated/i],
  ['user_unconfirmed', /not confirmed|unconfirmed|confirm your email/i],
  ['user_password_expired', /password (has )?expired|ldap/i],
  ['user_blocked', /\bblocked\b/i],
]

const POLICIES: [PolicyCode, RegExp][] = [
  ['sso_required', /\bSSO\b|single sign.?on|\bSAML\b/i],
  [
    'ip_not_allowed',
    /\bIP( address(es)?)?\b.*(not |n't )(allowed|permitted|authorized)|\bIP\b.*restrict|restricted\b.{0,60}\bIP\b|allowed IP/i,
  ],
  ['fine_grained_required', /fine.grained/i],
]

/** What a fine-grained token lacks is a matter of its permissions, and no demand for such a token. */
const LACKS_PERMISSION = /\black(s|ing)?\b|missing|insufficient|does not have|permissions?:/i

/** Demands that have nothing to do with who owns the token. @param text a message or description of GitLab */
export const policyOf = (text: string): PolicyCode | undefined => {
  const [code] = POLICIES.find(([, pattern]) => pattern.test(text)) ?? []
  return code === 'fine_grained_required' && LACKS_PERMISSION.test(text) ? undefined : code
}

/** @returns undefined when the sentence is none of GitLab's seven. */
export const knownOwnerCode = (sentence: string): OwnerCode | undefined =>
  SENTENCES.find(([, pattern]) => pattern.test(sentence))?.[0]

/** @param sentence of `403 Forbidden - <sentence>` */
export const ownerCodeOf = (sentence: string): OwnerCode => knownOwnerCode(sentence) ?? 'user_refused'

const LONGEST_GIT_SENTENCE = 1_000
/** Firewalls speak of these things too: on pages, or with a reference. */
const OF_A_FIREWALL = /<|error code|request blocked|rbac|\breference\b|incident id/i

/** Whether a text may be a refusal of GitLab's Git endpoint, rather than one of what stands in front of it. */
export const isGitSentence = (text: string): boolean =>
  text.length <= LONGEST_GIT_SENTENCE && !OF_A_FIREWALL.test(text)

/**
 * A sentence of GitLab that may be shown and logged. Links lose their query and fragment: the sign-in link of a group
 * holds a discovery token. Words as long as a token go too.
 */
export const shownSentence = (sentence: string): string =>
  sentence
    .replace(/(https?:\/\/[^\s?#"'<>]*)[?#][^\s"'<>]*/gi, '$1')
    .replace(/<[^>]*>?/g, ' ')
    .replace(/\bgl[a-z]{2,10}-[\w.-]{8,}/gi, '[removed]')
    .replace(/\b(token|secret|password)=\S+/gi, '$1=[removed]')
    .replace(/(?<![\w/.-])[\w-]{40,}(?![\w/-])/g, '[removed]')
    .replace(/\s+/g, ' ')
    .trim()
