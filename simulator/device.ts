import { randomBytes } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Clock } from './clock.ts'
import type { OAuthApp } from './grants.ts'
import { devicePage, messagePage } from './pages.ts'
import type { User } from './people.ts'
import { includesAll, parseScopes } from './scopes.ts'

/** The device grant (RFC 8628), as GitLab has it since 17.9. */

export const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code'
const LIFETIME_SECONDS = 300
const INTERVAL_SECONDS = 5
/** Without letters and digits that look alike. */
const LETTERS = 'ABCDEFGHJKMNPQRSTUVWXYZ23456789'
const USER_CODE_LENGTH = 8

type DeviceCode = {
  deviceCode: string
  userCode: string
  clientId: string
  scopes: string[]
  expiresAtMs: number
  polledAtMs: number | undefined
  intervalSeconds: number
  state: 'pending' | { approvedBy: User } | 'denied' | 'used'
}

export type DevicePoll =
  | { kind: 'issue'; user: User; scopes: string[] }
  | {
      kind: 'refuse'
      error: 'authorization_pending' | 'slow_down' | 'expired_token' | 'access_denied' | 'invalid_grant'
    }

export const createDevices = (clock: Clock) => {
  const codes = new Map<string, DeviceCode>()
  /** false = a GitLab from before 17.9. */
  let isKnown = true
  const findByUserCode = (userCode: string): DeviceCode | undefined =>
    [...codes.values()].find((code) => code.userCode === userCode && clock.now() < code.expiresAtMs)
  return {
    isKnown: () => isKnown,
    setKnown(known: boolean) {
      isKnown = known
    },
    create({ clientId }: OAuthApp, scopes: string[]): DeviceCode {
      const letters = [...randomBytes(USER_CODE_LENGTH)].map((byte) => LETTERS[byte % LETTERS.length])
      const code: DeviceCode = {
        deviceCode: randomBytes(32).toString('hex'),
        userCode: letters.join(''),
        clientId,
        scopes,
        expiresAtMs: clock.now() + LIFETIME_SECONDS * 1000,
        polledAtMs: undefined,
        intervalSeconds: INTERVAL_SECONDS,
        state: 'pending',
      }
      codes.set(code.deviceCode, code)
      return code
    },
    findByUserCode,
    answer(userCode: string, user: User, approved: boolean): boolean {
      const code = findByUserCode(userCode)
      if (code?.state !== 'pending') return false
      code.state = approved ? { approvedBy: user } : 'denied'
      return true
    },
    poll(deviceCode: string, app: OAuthApp): DevicePoll {
      const code = codes.get(deviceCode)
      const refuse = (error: Extract<DevicePoll, { kind: 'refuse' }>['error']): DevicePoll => ({
        kind: 'refuse',
        error,
      })
      if (!code || code.clientId !== app.clientId || code.state === 'used') return refuse('invalid_grant')
      if (clock.now() >= code.expiresAtMs) return refuse('expired_token')
      if (code.state === 'denied') return refuse('access_denied')
      const last = code.polledAtMs
      code.polledAtMs = clock.now()
      if (last !== undefined && clock.now() - last < code.intervalSeconds * 1000) {
        code.intervalSeconds += INTERVAL_SECONDS
        return refuse('slow_down')
      }
      if (code.state === 'pending') return refuse('authorization_pending')
      const { approvedBy } = code.state
      code.state = 'used'
      return { kind: 'issue', user: approvedBy, scopes: code.scopes }
    },
  }
}

export type Devices = ReturnType<typeof createDevices>

/** `POST /oauth/authorize_device`: the codes. @param origin of this GitLab, as browsers see it */
export const describeDevice = (
  devices: Devices,
  app: OAuthApp,
  scope: string | undefined,
  baseUrl: string,
) => {
  const scopes = scope ? parseScopes(scope) : app.scopes
  if (!includesAll(app.scopes, scopes)) return undefined
  const { deviceCode, userCode } = devices.create(app, scopes)
  return {
    device_code: deviceCode,
    user_code: userCode,
    verification_uri: `${baseUrl}/oauth/device`,
    verification_uri_complete: `${baseUrl}/oauth/device?user_code=${userCode}`,
    expires_in: LIFETIME_SECONDS,
    interval: INTERVAL_SECONDS,
  }
}

type Page = {
  basePath: string
  signedIn(request: FastifyRequest): User | undefined
  showSignIn(reply: FastifyReply, returnTo: string): FastifyReply
}

/** Where a person enters the code, and says yes or no. */
export const devicePages = (
  app: FastifyInstance,
  devices: Devices,
  { basePath, signedIn, showSignIn }: Page,
): void => {
  const action = `${basePath}/oauth/device`
  const show = (reply: FastifyReply, html: string) => reply.type('text/html').send(html)

  app.get('/oauth/device', async (request, reply) => {
    const user = signedIn(request)
    if (!user) return showSignIn(reply, request.url)
    const { user_code = '' } = request.query as Record<string, string>
    return show(reply, devicePage({ action, user, userCode: user_code, code: undefined }))
  })

  app.post('/oauth/device', async (request, reply) => {
    const user = signedIn(request)
    if (!user) return showSignIn(reply, action)
    const { user_code = '', answer } = (request.body ?? {}) as Record<string, string>
    const userCode = user_code.trim().toUpperCase()
    const code = devices.findByUserCode(userCode)
    if (code?.state !== 'pending') return show(reply, messagePage('The code is wrong or has expired.'))
    if (answer === undefined) return show(reply, devicePage({ action, user, userCode, code }))
    devices.answer(userCode, user, answer === 'authorize')
    return show(
      reply,
      messagePage(answer === 'authorize' ? 'The device is authorized.' : 'The device is denied.'),
    )
  })
}
