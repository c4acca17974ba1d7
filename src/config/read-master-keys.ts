import type { Environment } from './environment.ts'
import { runKeyCommand } from './key-command.ts'
import { decodeMasterKey } from './master-key.ts'

const HOW_TO_MAKE_ONE = '32 bytes in base64 (openssl rand -base64 32 makes one)'

type Reading = {
  read(name: string): string | undefined
  env: Environment
  faults: string[]
  isNeeded: boolean
}

/** The master keys of MASTER_KEY, or those that MASTER_KEY_COMMAND prints, the current one first. Adds to `faults`. */
export const readMasterKeys = ({ read, env, faults, isNeeded }: Reading): Uint8Array[] => {
  const known = faults.length
  const given = read('MASTER_KEY')
  const isReadable = faults.length === known
  const command = read('MASTER_KEY_COMMAND')
  if (given !== undefined && command !== undefined)
    faults.push('MASTER_KEY and MASTER_KEY_COMMAND are both set: set one')
  else if (command !== undefined) {
    const { output, fault } = runKeyCommand(command, env)
    if (fault === undefined) return decode('MASTER_KEY_COMMAND', output ?? '', faults)
    faults.push(`MASTER_KEY_COMMAND ${fault}`)
  } else if (given !== undefined) return decode('MASTER_KEY', given, faults)
  else if (isNeeded && isReadable)
    faults.push(`MASTER_KEY is needed when DATABASE_URL is set: ${HOW_TO_MAKE_ONE}`)
  return []
}

const decode = (name: string, text: string, faults: string[]): Uint8Array[] => {
  const masterKeys: Uint8Array[] = []
  for (const [index, part] of text.split(',').entries()) {
    const key = decodeMasterKey(part.trim())
    if (key) masterKeys.push(key)
    else
      faults.push(
        `${name}: key ${index + 1} is not 32 bytes in base64 or base64url (openssl rand -base64 32 makes one)`,
      )
  }
  return masterKeys
}
