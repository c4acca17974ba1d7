import type { DeviceCodes } from '../../oauth-apps/device-grant.ts'
import type { Vault } from '../../vault/vault.ts'

/** What is kept of the codes until a person has entered theirs. */
export type KeptCodes = Pick<DeviceCodes, 'deviceCode' | 'userCode' | 'verificationUri'>

const bindingOf = (id: string) => ({ ownerId: id, version: 1, use: 'device' }) as const

export const sealCodes = (vault: Vault, id: string, codes: KeptCodes): Promise<string> => {
  const { deviceCode, userCode, verificationUri } = codes
  return vault.seal(JSON.stringify({ deviceCode, userCode, verificationUri }), bindingOf(id))
}

export const openCodes = async (vault: Vault, id: string, deviceJwe: string): Promise<KeptCodes> =>
  JSON.parse(await vault.open(deviceJwe, bindingOf(id))) as KeptCodes
