import { CATALOGUE, type ProblemCode, titleOf } from '../errors/catalogue.ts'
import type { Problem } from '../errors/problem.ts'
import { readAddress } from '../gitlab/urls/pasted-address.ts'
import { DEFAULT_BASE_URL } from '../instances/resolve-instance.ts'
import type { Advice, Texts } from './texts.en.ts'

/** Pure: what the page says of a refusal, and where on their own GitLab a person puts it right. */

/** What a token should have: to clone, to list projects, and to know whose it is. */
export const RECOMMENDED_SCOPES = ['read_api', 'read_repository', 'read_user']
const TOKEN_NAME = 'Code scanning'

export type Hyperlink = { href: string; label: string }
export type ShownAdvice = Advice & {
  code: string
  link: Hyperlink | undefined
  detail: string | undefined
  meant?: string
}

export type AdviceContext = {
  /** As somebody entered it: nothing is linked that is no http(s) URL. */
  baseUrl?: string | undefined
  missing?: string[] | undefined
  group?: string | undefined
  detail?: string | undefined
}

/** GitLab's page for a new token, filled in. undefined when the base URL is none. */
export const newTokenLink = (
  baseUrl: string,
  missing: readonly string[],
  texts: Texts,
): Hyperlink | undefined => {
  const canonical = readAddress(baseUrl)?.baseUrl
  if (canonical === undefined) return undefined
  // A scope that is missing is added to those that the new token needs anyway.
  const scopes = [...new Set([...RECOMMENDED_SCOPES, ...missing])].join(',')
  const query = new URLSearchParams({ name: TOKEN_NAME, scopes }).toString().replaceAll('%2C', ',')
  return {
    href: `${canonical}/-/user_settings/personal_access_tokens?${query}`,
    label: texts.links.newToken(scopes.replaceAll(',', texts.and)),
  }
}

const linkFor = (code: string, baseUrl: string, missing: string[], texts: Texts): Hyperlink | undefined => {
  const canonical = readAddress(baseUrl)?.baseUrl
  if (canonical === undefined) return undefined
  switch (code) {
    case 'token_unknown':
    case 'token_expired':
    case 'token_revoked':
    case 'missing_scopes':
      return newTokenLink(canonical, missing, texts)
    case 'refresh_token_refused':
      return { href: `${canonical}/-/user_settings/applications`, label: texts.links.applications }
    case 'gitlab_unavailable':
      return canonical === DEFAULT_BASE_URL
        ? { href: 'https://status.gitlab.com', label: texts.links.gitlabStatus }
        : { href: canonical, label: texts.links.open(instanceName(canonical)) }
    case 'not_a_gitlab':
    case 'group_out_of_reach':
    case 'dpop_required':
      return { href: canonical, label: texts.links.open(instanceName(canonical)) }
    default:
      return undefined
  }
}

/** Host and path, as people write it: gitlab.com, git.example.com/gitlab. */
export const instanceName = (baseUrl: string): string => baseUrl.replace(/^https?:\/\//, '')

export const isProblemCode = (code: string): code is ProblemCode => Object.hasOwn(CATALOGUE, code)

export const adviceFor = (code: string, context: AdviceContext, texts: Texts): ShownAdvice => {
  const { baseUrl = DEFAULT_BASE_URL, missing = [], group = '', detail } = context
  const known = isProblemCode(code) || Object.hasOwn(texts.advice, code) ? code : 'internal_error'
  const facts = {
    instance: instanceName(readAddress(baseUrl)?.baseUrl ?? baseUrl),
    missing: missing.join(texts.and),
    group,
  }
  const text = texts.advice[known]?.(facts)
  const advice = text ?? {
    title: isProblemCode(known) ? titleOf(known) : '',
    explanation: detail ?? '',
    remedy: '',
  }
  // What our own text says already is not said twice.
  return {
    ...advice,
    code: known,
    link: linkFor(known, baseUrl, missing, texts),
    detail: text ? undefined : detail,
  }
}

export const adviceForProblem = (problem: Problem, context: AdviceContext, texts: Texts): ShownAdvice => {
  const { members, errors } = problem.extras
  if (members?.page === 'outdated') return shownAs(texts.problem.outdated, problem.code)
  const end = endOf(members?.link_end, texts)
  if (end) return shownAs(end, problem.code)
  const reason = errors?.[0]?.reason
  if (reason !== undefined && Object.hasOwn(texts.pasted, reason))
    return shownAs(texts.pasted[reason as keyof Texts['pasted']], problem.code)
  const looks = members?.looks_like
  if (typeof looks === 'string' && Object.hasOwn(texts.looksLike, looks))
    return shownAs(texts.looksLike[looks as keyof Texts['looksLike']], problem.code)
  const missing = members?.missing_scopes
  // A field has advice of its own: invalid_base_url, invalid_token, ...
  const byField = `invalid_${errors?.[0]?.field}`
  const isOfField = problem.code === 'invalid_request' && Object.hasOwn(texts.advice, byField)
  const code = isOfField ? byField : problem.code
  const more = Array.isArray(missing) ? { missing: missing.map(String) } : {}
  const meant = members?.did_you_mean
  return {
    ...adviceFor(code, { ...context, detail: problem.message, ...more }, texts),
    ...(typeof meant === 'string' ? { meant } : {}),
  }
}

const endOf = (name: unknown, { ended }: Texts): Advice | undefined =>
  typeof name === 'string' && Object.hasOwn(ended, name) ? ended[name as keyof Texts['ended']] : undefined

const shownAs = (advice: Advice, code: ProblemCode): ShownAdvice => ({
  ...advice,
  code,
  link: undefined,
  detail: undefined,
})
