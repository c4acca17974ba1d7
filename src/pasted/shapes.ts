/**
 * Pure: how secrets look. A prefix is a hint and never a proof, since an admin of GitLab can choose it: a shape finds a
 * token in a text, and never refuses a text that is one word.
 */

/** Whole tokens in the forms that GitLab gives by default (its documentation, "Token prefixes"; lib/gitlab/auth). */
const WHOLE = [
  /glpat-[\w-]{27,300}\.\w{2}\.[0-9a-z]{9}/,
  /glpat-[\w-]{20,300}/,
  /gliam[ar]t-[\w-]+\.[\w-]+\.[\w-]+/,
  /gl(?!pat-|iam)[a-z]{2,6}-[\w-]{20,300}(?:\.\w{2}\.[0-9a-z]{9})?/,
  /[0-9a-f]{64}/,
]
const ANY_WHOLE = WHOLE.map(({ source }) => source).join('|')
const ONE = new RegExp(`^(?:${ANY_WHOLE})$`)
const EACH = new RegExp(`(?<![\\w-])(?:${ANY_WHOLE})(?![\\w-]|\\.\\w)`, 'g')

/** The length of a token before GitLab 17: of any other, a part may stand behind a blank. */
export const isCompleteForm = (token: string): boolean =>
  /^(?:glpat-[\w-]{20}|.*\.\w{2}\.[0-9a-z]{9}|[0-9a-f]{64})$/.test(token)

export const isWhole = (text: string): boolean => ONE.test(text)

/** The whole tokens in a text, each once. */
export const findWhole = (text: string): string[] => [...new Set(text.match(EACH))]

const VERB = /^(?:your|my|insert|enter|paste|put|add|replace|change|gitlab|some|example)/i
const NOUN = /(?:token|secret|key|pat|here|me|this|id)$/i
const WORDS = new Set([
  'changeme',
  'placeholder',
  'undefined',
  'password',
  'client_secret',
  'client-secret',
  'private_token',
  'access_token',
  'personal access token',
])
const VARIABLES = [
  /^\$\{?[\w:-]+\}?$/,
  /^\$env:\w+$/i,
  /^%\w+%$/,
  /^\$?\{\{[^{}]*\}\}$/,
  /^[\w-]*<[^<>]*>$/,
  /^\[object \w+\]$/i,
  /^[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*_(?:TOKEN|SECRET|KEY|PAT|ID)$/,
]

/** `<your token>`, `$GITLAB_TOKEN`, `YOUR_TOKEN_HERE`, `glpat-xxxxxxxxxxxxxxxxxxxx`. */
export const isPlaceholder = (text: string): boolean =>
  WORDS.has(text.toLowerCase()) ||
  VARIABLES.some((form) => form.test(text)) ||
  /^(?:gl[a-z]{2,8}-)?(?:x{8,40}|_{6,40})$/i.test(text) ||
  (/^(?:gl[a-z]{2,8}-)?[a-z _-]+$/i.test(text) &&
    VERB.test(text.replace(/^gl[a-z]{2,8}-/i, '')) &&
    NOUN.test(text))

/** `glpat-****`, `glpat-abc…`, `[MASKED]`. */
export const isMasked = (text: string): boolean =>
  /\*{3}|[•●∙·▪█■]{2}|\.{3}|…|^gl[a-z]{2,8}-\S*x{12}$/i.test(text) ||
  /^[[<(]?(?:masked|redacted|filtered|hidden|secret)[\])>]?$/i.test(text)

const decodeBase64 = (text: string): string =>
  /^[A-Za-z0-9+/]{12,}={0,2}$/.test(text) ? Buffer.from(text, 'base64').toString('latin1') : ''

/** Base64 of `name:token`, as HTTP Basic authentication and .dockerconfigjson have it. */
export const isBase64Pair = (text: string): boolean =>
  /^[\w.+@-]{0,255}:(?:gl[a-z]{2,8}-[\x21-\x7e]+|[0-9a-f]{64})\s*$/.test(decodeBase64(text))

export const isSshKey = (text: string): boolean =>
  /^(?:ssh-(?:rsa|dss|ed25519)|ecdsa-sha2-\w+|sk-(?:ssh|ecdsa)-\S+)\s/.test(text) ||
  /^AAAA[BCE][23]N/.test(text)

export const isPem = (text: string): boolean => /-----BEGIN [A-Z0-9 ]+-----/.test(text)
export const isAccessKey = (text: string): boolean => /^gtb_(?:adm|mgr|scn)_[\w-]{40,}$/.test(text)
export const isSessionCookie = (text: string): boolean => /_gitlab_session(?:_\w+)?=/i.test(text)
