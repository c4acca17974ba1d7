import { mkdir, open, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { decodeProtectedHeader } from 'jose'
import type { Logger } from 'pino'
import type { Vault } from '../vault/vault.ts'

/** A token that GitLab just issued. */
export type IssuedTokenSet = {
  connectionId: string
  /** The grant that it descends from. */
  grantId: string
  /** The version that it becomes. */
  tokenVersion: number
  issuedAt: Date
  expiresAt: Date | null
  accessToken: string
  refreshToken: string | null
  scopes: string[]
}

/**
 * Issued tokens on the disk, encrypted, one file each, in two folders:
 *
 * - `spool/` holds what the database did not take. A file stays until its token, or a successor, is stored.
 * - `spool/saved/` holds the newest token of each connection for a while after saving. A database that goes back to an
 *   earlier state gets it again.
 */
export type Spool = RetainedTokens & {
  write(issued: IssuedTokenSet): Promise<void>
  remove(issued: Pick<IssuedTokenSet, 'connectionId' | 'tokenVersion'>): Promise<void>
  /** What can be read; a file that does not open stays where it is and is logged. */
  list(): Promise<IssuedTokenSet[]>
}

/** The folder `spool/saved/`. */
export type RetainedTokens = {
  retain(issued: IssuedTokenSet, at: Date): Promise<void>
  /** The retained token of a connection, if it is this version or a later one. */
  findRetained(connectionId: string, fromVersion: number): Promise<IssuedTokenSet | undefined>
  /** The connections that have a retained token. */
  listRetained(): Promise<string[]>
  forgetRetained(connectionId: string): Promise<void>
  /** @returns how many files went. */
  deleteRetainedBefore(time: Date): Promise<number>
}

const FILE_NAME = /^([0-9a-f-]{36})\.(\d+)\.jwe$/
const RETAINED_NAME = /^([0-9a-f-]{36})\.jwe$/
const OWNER_ONLY = 0o600

type Stored = Omit<IssuedTokenSet, 'issuedAt' | 'expiresAt'> & { issuedAt: string; expiresAt: string | null }

type SealedFiles = {
  seal(issued: IssuedTokenSet): Promise<string>
  /** @throws {VaultError} */
  open(jwe: string, ownerId: string, version: number): Promise<IssuedTokenSet>
}

const createSealedFiles = (vault: Vault): SealedFiles => {
  const seal = (issued: IssuedTokenSet): Promise<string> =>
    vault.seal(JSON.stringify(issued), {
      ownerId: issued.connectionId,
      version: issued.tokenVersion,
      use: 'spool',
    })

  const open = async (jwe: string, ownerId: string, version: number): Promise<IssuedTokenSet> => {
    const stored = JSON.parse(await vault.open(jwe, { ownerId, version, use: 'spool' })) as Stored
    const expiresAt = stored.expiresAt === null ? null : new Date(stored.expiresAt)
    // A file of an earlier version of the broker names no grant: its token descends from the first.
    return {
      ...stored,
      grantId: stored.grantId ?? stored.connectionId,
      issuedAt: new Date(stored.issuedAt),
      expiresAt,
    }
  }

  return { seal, open }
}

type RetainedDeps = {
  folder: string
  sealed: SealedFiles
  namesIn(path: string): Promise<string[]>
  logger: Logger
}

const createRetainedTokens = ({ folder, sealed, namesIn, logger }: RetainedDeps): RetainedTokens => {
  const fileOf = (connectionId: string) => join(folder, `${connectionId}.jwe`)
  return {
    async retain(issued, at) {
      const file = fileOf(issued.connectionId)
      // No sync: the database has the token. Unique, since two tokens of one connection may be retained at once.
      const draft = `${file}.${issued.tokenVersion}.draft`
      const jwe = await sealed.seal(issued)
      const write = () => writeFile(draft, jwe, { mode: OWNER_ONLY })
      await write().catch(async (error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error
        await mkdir(folder, { recursive: true, mode: 0o700 })
        await write()
      })
      await utimes(draft, at, at)
      await rename(draft, file)
    },

    async findRetained(connectionId, fromVersion) {
      const jwe = await readFile(fileOf(connectionId), 'utf8').catch(() => undefined)
      if (jwe === undefined) return undefined
      try {
        // The header is readable without the key: most of the time it tells that the row is as new.
        const version = Number((decodeProtectedHeader(jwe) as { ver?: unknown }).ver)
        return version >= fromVersion ? await sealed.open(jwe, connectionId, version) : undefined
      } catch (error) {
        logger.error({ err: error, connection_id: connectionId }, 'a retained token does not open')
        return undefined
      }
    },

    async listRetained() {
      const names = await namesIn(folder)
      return names.flatMap((name) => RETAINED_NAME.exec(name)?.[1] ?? [])
    },

    forgetRetained: (connectionId) => rm(fileOf(connectionId), { force: true }),

    async deleteRetainedBefore(time) {
      let deleted = 0
      for (const name of await namesIn(folder)) {
        const file = join(folder, name)
        const { mtimeMs } = await stat(file).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }))
        if (mtimeMs >= time.getTime()) continue
        await rm(file, { force: true })
        deleted += 1
      }
      return deleted
    },
  }
}

export const createSpool = (folder: string, vault: Vault, logger: Logger): Spool => {
  const fileOf = ({ connectionId, tokenVersion }: Pick<IssuedTokenSet, 'connectionId' | 'tokenVersion'>) =>
    join(folder, `${connectionId}.${tokenVersion}.jwe`)

  const sealed = createSealedFiles(vault)

  const read = async (name: string): Promise<IssuedTokenSet | undefined> => {
    const [, ownerId = '', version] = FILE_NAME.exec(name) ?? []
    try {
      return await sealed.open(await readFile(join(folder, name), 'utf8'), ownerId, Number(version))
    } catch (error) {
      logger.error({ err: error, file: name }, 'a file in the spool does not open; it is left where it is')
      return undefined
    }
  }

  const namesIn = (path: string): Promise<string[]> =>
    readdir(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT')
        logger.error({ err: error }, 'the spool cannot be read; what may be in it is not taken up')
      return []
    })

  return {
    async write(issued) {
      await mkdir(folder, { recursive: true, mode: 0o700 })
      const file = fileOf(issued)
      // Written beside and renamed: a crash leaves the whole file or none.
      const draft = await open(`${file}.draft`, 'w', OWNER_ONLY)
      try {
        await draft.writeFile(await sealed.seal(issued))
        await draft.sync()
      } finally {
        await draft.close()
      }
      await rename(`${file}.draft`, file)
    },

    remove: (issued) => rm(fileOf(issued), { force: true }),

    async list() {
      const files = await Promise.all(
        (await namesIn(folder)).filter((name) => FILE_NAME.test(name)).map(read),
      )
      return files.filter((issued) => issued !== undefined)
    },
    ...createRetainedTokens({ folder: join(folder, 'saved'), sealed, namesIn, logger }),
  }
}
