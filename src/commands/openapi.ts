import { createApp } from '../app.ts'
import { systemClock } from '../clock/clock.ts'
import { readConfig } from '../config/config.ts'
import { openNoDatabase } from '../db/no-database.ts'
import { openApiYaml } from '../http/api-docs.ts'
import { createLogger } from '../log.ts'
import type { KeyRing } from '../vault/key-ring.ts'

const NO_KEYS: KeyRing = {
  current() {
    throw new Error('There is no data key where routes are only described')
  },
  byId: () => Promise.resolve(undefined),
  follow: () => Promise.resolve(),
}

/** Prints openapi.yaml: the routes are described and never called. */
export const openapi = async (): Promise<void> => {
  const { app } = await createApp({
    ...openNoDatabase(),
    keyRing: NO_KEYS,
    masterKeys: () => [],
    clock: systemClock,
    logger: createLogger('silent'),
    config: readConfig({}),
  })
  process.stdout.write(await openApiYaml(app))
  await app.close()
}
