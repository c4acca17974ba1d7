import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

const CAUSES: Record<string, string> = {
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  ENOTDIR: 'a part of the path is a file, not a folder',
  EEXIST: 'it is a file, not a folder',
  ENAMETOOLONG: 'the path is too long',
  EMFILE: 'this process has too many files open',
  EIO: 'the disk does not work',
}
/** A new embedded database takes 40 MB; a disk with less than this is full for it. */
const LEAST_FREE_BYTES = 64 * 2 ** 20

/** A folder that cannot be used; the message names it and the cause. */
export class DataFolderError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'DataFolderError'
  }
}

const causeOf = (error: unknown): string => {
  const { code } = error as NodeJS.ErrnoException
  return code === undefined ? 'unknown cause' : (CAUSES[code] ?? code)
}

/**
 * Makes a folder where it is missing, and writes a byte into it: rights alone tell nothing of a full disk.
 * @throws {DataFolderError}
 */
export const ensureWritable = (folder: string): void => {
  const probe = join(folder, `.writable-${process.pid}`)
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    writeFileSync(probe, '1', { mode: 0o600 })
    rmSync(probe)
  } catch (error) {
    throw new DataFolderError(`The folder ${resolve(folder)} cannot be written: ${causeOf(error)}.`)
  }
}

/** Whether there is too little room for a new embedded database. */
export const isFull = (folder: string): boolean => {
  const { bavail, bsize } = statfsSync(folder)
  return bavail * bsize < LEAST_FREE_BYTES
}
