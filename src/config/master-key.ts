import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const MASTER_KEY_BYTES = 32
const OWNER_ONLY = 0o600

/** 32 bytes from base64 or base64url, with or without padding; undefined when it is anything else. */
export const decodeMasterKey = (text: string): Uint8Array | undefined => {
  if (!/^[A-Za-z0-9+/_-]{43}=?$/.test(text)) return undefined
  const key = Buffer.from(text, 'base64url')
  return key.length === MASTER_KEY_BYTES ? new Uint8Array(key) : undefined
}

/** The embedded default's master key: `master.key` in the data folder, made on first use, readable by its owner only. */
export const embeddedMasterKey = (dataDir: string): Uint8Array => {
  const file = join(dataDir, 'master.key')
  if (!existsSync(file)) {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 })
    writeFileSync(file, `${randomBytes(MASTER_KEY_BYTES).toString('base64url')}\n`, {
      mode: OWNER_ONLY,
      flag: 'wx',
    })
  }
  const key = decodeMasterKey(readFileSync(file, 'utf8').trim())
  if (!key)
    throw new Error(`${file} does not hold a master key (32 bytes in base64url). Put the original file back.`)
  return key
}

/** The configured master keys, or that of the embedded default; the current one first. */
export const masterKeysOf = ({
  masterKeys,
  dataDir,
}: {
  masterKeys: Uint8Array[]
  dataDir: string
}): Uint8Array[] => (masterKeys.length > 0 ? masterKeys : [embeddedMasterKey(dataDir)])
