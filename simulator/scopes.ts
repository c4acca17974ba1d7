export const OAUTH_SCOPES = [
  'api',
  'read_api',
  'read_user',
  'read_repository',
  'write_repository',
  'openid',
  'profile',
  'email',
]

export const ACCESS_TOKEN_SCOPES = [
  'api',
  'read_api',
  'read_user',
  'read_repository',
  'write_repository',
  'self_rotate',
  'k8s_proxy',
  'create_runner',
  'manage_runner',
  'ai_features',
]

export const parseScopes = (text: string): string[] => text.split(' ').filter((scope) => scope !== '')

export const includesAll = (allowed: readonly string[], wanted: readonly string[]): boolean =>
  wanted.every((scope) => allowed.includes(scope))

export const includesAny = (held: readonly string[], accepted: readonly string[]): boolean =>
  accepted.some((scope) => held.includes(scope))

export const sameScopes = (left: readonly string[], right: readonly string[]): boolean =>
  includesAll(left, right) && includesAll(right, left)
