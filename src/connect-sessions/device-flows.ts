import { createSealedCookie, type SealedCookie, type SealedCookieDeps } from './sealed-cookie.ts'

/** The device grants that this browser has begun, the latest first: only this browser is shown their codes. */
export type DeviceFlows = { ids: string[] }

export const createDeviceFlows = (deps: SealedCookieDeps): SealedCookie<DeviceFlows> =>
  createSealedCookie<DeviceFlows>(deps, 'connect-device')
