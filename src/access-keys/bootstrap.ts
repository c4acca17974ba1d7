import type { Logger } from 'pino'
import { v7 as uuidv7 } from 'uuid'
import { EVERY_ORGANIZATION } from '../callers/principal.ts'
import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import { generateAccessKey, hashAccessKey } from './key-format.ts'
import { hasAccessKey, insertFirstAccessKey } from './queries.ts'

/**
 * Gives a fresh database its first admin key: the configured one, or one made here.
 * @returns the key that was made here, to be shown once; undefined otherwise.
 */
export const ensureFirstAdminKey = async (
  db: Database,
  {
    configuredKey,
    mayGenerate,
    clock,
    logger,
  }: { configuredKey: string | undefined; mayGenerate: boolean; clock: Clock; logger: Logger },
): Promise<string | undefined> => {
  if (configuredKey === undefined && !mayGenerate) {
    if (!(await hasAccessKey(db)))
      logger.warn('nobody has an access key: set BOOTSTRAP_ADMIN_KEY and start again')
    return undefined
  }
  const key = configuredKey ?? generateAccessKey('admin')
  const inserted = await insertFirstAccessKey(db, {
    id: uuidv7(),
    name: 'bootstrap admin',
    role: 'admin',
    organizations: [EVERY_ORGANIZATION],
    key_sha256: hashAccessKey(key),
    created_at: new Date(clock()),
    expires_at: null,
  })
  return inserted && configuredKey === undefined ? key : undefined
}
