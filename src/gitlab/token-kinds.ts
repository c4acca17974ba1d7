/**
 * Pure: what a text looks like that GitLab refused as a token. A prefix is a hint and no more, since an admin of GitLab
 * chooses the one of access tokens: only GitLab's answer decides, and these words explain the answer.
 */

type Looks = { prefix: RegExp; what: string; why: string }

const CANNOT_CALL = 'cannot call the API'

/** GitLab's documentation, "Token prefixes". */
const KINDS = {
  deploy_token: { prefix: /^gldt-/, what: 'a deploy token', why: CANNOT_CALL },
  job_token: { prefix: /^glcbt-/, what: 'a CI/CD job token', why: 'ends with its job' },
  runner_token: {
    prefix: /^(?:glrt-|glrtr-|GR1348941)/,
    what: 'a runner token',
    why: 'registers runners and opens no repository',
  },
  feed_token: { prefix: /^glft-/, what: 'a feed token', why: 'opens feeds and calendars only' },
  trigger_token: { prefix: /^glptt-/, what: 'a pipeline trigger token', why: 'starts pipelines only' },
  incoming_mail_token: { prefix: /^glimt-/, what: 'an incoming mail token', why: 'is for e-mail only' },
  agent_token: { prefix: /^glagent-/, what: 'a token of an agent for Kubernetes', why: CANNOT_CALL },
  scim_token: { prefix: /^glsoat-/, what: 'a SCIM token', why: 'provisions accounts only' },
  feature_flags_client_token: {
    prefix: /^glffct-/,
    what: 'a token of a feature flags client',
    why: 'reads feature flags only',
  },
  workspace_token: { prefix: /^glwt-/, what: 'a workspace token', why: CANNOT_CALL },
  oauth_app_secret: {
    prefix: /^gloas-/,
    what: 'the secret of an OAuth app',
    why: 'is no token: an admin enters it where the app is registered',
  },
  oauth_refresh_token: {
    prefix: /^gliamrt-/,
    what: 'an OAuth refresh token',
    why: 'renews an access token and opens nothing itself',
  },
  oauth_code: { prefix: /^gliamac-/, what: 'an OAuth authorization code', why: 'is no token yet' },
  github_token: {
    prefix: /^(?:gh[pousr]_|github_pat_)/,
    what: 'a token of GitHub',
    why: 'is unknown to GitLab',
  },
  bitbucket_token: { prefix: /^AT(?:BB|CTT|ATT)/, what: 'a token of Bitbucket', why: 'is unknown to GitLab' },
} as const satisfies Record<string, Looks>

export type LooksLike = keyof typeof KINDS
export const LOOKS_LIKE = Object.keys(KINDS) as LooksLike[]

/** undefined = nothing that is known to be no access token. */
export const looksLike = (token: string): LooksLike | undefined =>
  LOOKS_LIKE.find((name) => KINDS[name].prefix.test(token))

/** For people: what it is, why that does not help, and what does. */
export const describeLooks = (name: LooksLike): string => {
  const { what, why } = KINDS[name]
  return `This looks like ${what}, which ${why}. Create a personal, group or project access token with read_api and read_repository.`
}
