import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { Vault } from '../vault/vault.ts'

/** A token that GitLab just issued, and that exists nowhere else yet. */
export type IssuedTokenSet = {
  connectionId: string
  /** The version that it becomes. */
  tokenVersion: number
  issuedAt: Date
  expiresAt: Date | null
  accessToken: string
  refreshToken: string | null
  scopes: string[]
}

/** Tokens that the database did not take, encrypted, one file each. */
export type Spool = {
  write(issued: IssuedTokenSet): Promise<void>
  remove(issued: Pick<IssuedTokenSet, 'connectionId' | 'tokenVersion'>): Promise<void>
  /** What can be read; a file that does not open stays where it is and is logged. */
  list(): Promise<IssuedTokenSet[]>
}

const FILE_NAME = /^([0-9a-f-]{36})\.(\d+)\.jwe$/
const OWNER_ONLY = 0o600

type Stored = Omit<IssuedTokenSet, 'issuedAt' | 'expiresAt'> & { issuedAt: string; expiresAt: string | null }

export const createSpool = (folder: string, vault: Vault, logger: Logger): Spool => {
  const fileOf = ({ connectionId, tokenVersion }: Pick<IssuedTokenSet, 'connectionId' | 'tokenVersion'>) =>
    join(folder, `${connectionId}.${tokenVersion}.jwe`)

  const read = async (name: string): Promise<IssuedTokenSet | undefined> => {
    const [, ownerId = '', version] = FILE_NAME.exec(name) ?? []
    try {
      const jwe = await readFile(join(folder, name), 'utf8')
      const stored = JSON.parse(
        await vault.open(jwe, { ownerId, version: Number(version), use: 'spool' }),
      ) as Stored
      const expiresAt = stored.expiresAt === null ? null : new Date(stored.expiresAt)
      return { ...stored, issuedAt: new Date(stored.issuedAt), expiresAt }
    } catch (error) {
      logger.error({ err: error, file: name }, 'a file in the spool does not open; it is left where it is')
      return undefined
    }
  }

  return {
    async write(issued) {
      await mkdir(folder, { recursive: true, mode: 0o700 })
      const jwe = await vault.seal(JSON.stringify(issued), {
        ownerId: issued.connectionId,
        version: issued.tokenVersion,
        use: 'spool',
      })
      const file = fileOf(issued)
      // Written beside and renamed: a crash leaves the whole file or none.
      const draft = await open(`${file}.draft`, 'w', OWNER_ONLY)
      try {
        await draft.writeFile(jwe)
        await draft.sync()
      } finally {
        await draft.close()
      }
      await rename(`${file}.draft`, file)
    },

    remove: (issued) => rm(fileOf(issued), { force: true }),

    async list() {
      const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT')
          logger.error({ err: error }, 'the spool cannot be read; what may be in it is not taken up')
        return []
      })
      const files = await Promise.all(names.filter((name) => FILE_NAME.test(name)).map(read))
      return files.filter((issued) => issued !== undefined)
    },
  }
}
