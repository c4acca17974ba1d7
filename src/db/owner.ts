import { readFileSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { DataFolderError } from '../config/data-folder.ts'

/** SQLite's own words for a lock that somebody else has. */
const BUSY = 5

const describeOwner = (file: string): string => {
  try {
    const { pid, host, since } = JSON.parse(readFileSync(file, 'utf8'))
    return `process ${pid} on ${host}, since ${since}`
  } catch {
    return 'another process'
  }
}

/**
 * Makes this process the only one that works in a folder.
 *
 * The lock is SQLite's on a file that stays empty: Node has no file locks of its own, and SQLite takes the right one on
 * each system. The operating system ends the lock with the process, however that ends, and it counts between containers
 * that share a folder; a socket with a name would not, and a file with a date would outlive its process.
 *
 * @returns what gives the folder up.
 * @throws {DataFolderError} naming the process that has the folder.
 */
export const ownFolder = (folder: string): (() => void) => {
  const about = join(folder, 'owner.json')
  const lock = new DatabaseSync(join(folder, 'owner.lock'))
  try {
    lock.exec('pragma journal_mode = memory; begin exclusive')
  } catch (error) {
    lock.close()
    if ((error as { errcode?: number }).errcode !== BUSY)
      throw new DataFolderError(
        `The folder ${resolve(folder)} cannot be locked: ${(error as Error).message}.`,
      )
    throw new DataFolderError(
      `The folder ${resolve(folder)} is in use by ${describeOwner(about)}: one process works on an embedded database at a time. End that one first, or set DATABASE_URL for several.`,
    )
  }
  writeFileSync(
    about,
    JSON.stringify({ pid: process.pid, host: hostname(), since: new Date().toISOString() }),
    {
      mode: 0o600,
    },
  )
  return () => {
    if (lock.isOpen) lock.close()
  }
}
