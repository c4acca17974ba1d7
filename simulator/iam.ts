import { createHash, randomBytes } from 'node:crypto'

/**
 * Tokens of GitLab's newer auth service, to which apps are moved one by one. An access token is a JWT behind a prefix: the
 * signature here is no signature, since nobody but GitLab checks it.
 */

export type Engine = 'doorkeeper' | 'fosite'

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')

export const newIamAccessToken = (claims: {
  userId: number
  scopes: string[]
  issuedAt: number
  expiresAt: number
  clientId: string
}): string => {
  const payload = encode({
    iss: 'https://iam.simulator.example',
    aud: 'gitlab-rails',
    sub: String(claims.userId),
    client_id: claims.clientId,
    jti: randomBytes(16).toString('hex'),
    iat: claims.issuedAt,
    exp: claims.expiresAt,
    scope: claims.scopes.join(' '),
  })
  const head = encode({ alg: 'RS256', kid: 'simulator', typ: 'JWT' })
  const signature = createHash('sha512').update(payload).digest('base64url')
  return `gliamat-${head}.${payload}.${signature}`
}

export const newIamRefreshToken = (): string => `gliamrt-${randomBytes(48).toString('base64url')}`
export const newIamCode = (): string => `gliamac-${randomBytes(48).toString('base64url')}`
