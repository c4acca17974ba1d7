import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, type JWTHeaderParameters, SignJWT } from 'jose'
import type { Test } from 'tap'
import type { Answer, TestBroker } from './broker.ts'

export const AUDIENCE = 'https://broker.example.com'

type Key = Awaited<ReturnType<typeof makeKey>>

const makeKey = async (kid: string, alg: string) => {
  const pair = await generateKeyPair(alg, { extractable: true })
  return { kid, alg, ...pair, jwk: { ...(await exportJWK(pair.publicKey)), kid, alg } }
}

/** An OpenID Connect issuer over HTTP, with keys that can change and an address that can go away. */
export const startIssuer = async (t: Test, clock: () => number) => {
  let keys: Key[] = [await makeKey('first', 'RS256')]
  const requests: string[] = []
  /** What it answers instead of what was asked. */
  let instead: { status: number; body: string } | undefined
  let discovery: Record<string, unknown> = {}
  const published: object[] = []
  const server = createServer(({ url = '' }, response) => {
    requests.push(url)
    const documents: Record<string, object> = {
      '/.well-known/openid-configuration': { issuer, jwks_uri: `${issuer}/keys`, ...discovery },
      '/keys': { keys: [...keys.map(({ jwk }) => jwk), ...published] },
    }
    const found = documents[url]
    response.statusCode = instead?.status ?? (found ? 200 : 404)
    response.setHeader('content-type', 'application/json')
    response.end(instead?.body ?? JSON.stringify(found ?? {}))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const issuer = `http://127.0.0.1:${port}`
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })

  return {
    issuer,
    requests,
    /** The newest one signs. */
    keys: () => keys,
    addKey: async (kid: string, alg = 'ES256') => {
      keys = [...keys, await makeKey(kid, alg)]
    },
    removeKey: (kid: string) => {
      keys = keys.filter((key) => key.kid !== kid)
    },
    answerInstead: (answer: typeof instead) => {
      instead = answer
    },
    /** Adds a JWK that it has no private key of. */
    publish: (jwk: object) => void published.push(jwk),
    setDiscovery: (members: typeof discovery) => {
      discovery = members
    },
    /** A token that lives five minutes from now. */
    sign: (
      claims: Record<string, unknown> = {},
      header: Partial<JWTHeaderParameters> = {},
      key = keys.at(-1)!,
    ) => {
      const now = Math.floor(clock() / 1000)
      const payload = {
        iss: issuer,
        aud: AUDIENCE,
        sub: 'project_path:acme/web-shop:ref_type:branch:ref:main',
        project_path: 'acme/web-shop',
        iat: now,
        exp: now + 300,
        ...claims,
      }
      return new SignJWT(payload)
        .setProtectedHeader({ alg: key.alg, kid: key.kid, typ: 'JWT', ...header })
        .sign(key.privateKey)
    },
  }
}

export type TestIssuer = Awaited<ReturnType<typeof startIssuer>>

export const ACME_RULE = { claims: { project_path: 'acme/*' }, organizations: ['acme'] }

export const trustIssuer = (
  broker: TestBroker,
  { issuer }: Pick<TestIssuer, 'issuer'>,
  more: object = {},
): Promise<Answer> =>
  broker.post('/v1/trusted-issuers', {
    issuer,
    audience: AUDIENCE,
    allow_private_network: true,
    rules: [ACME_RULE],
    ...more,
  })
