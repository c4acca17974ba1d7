import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { v7 as uuidv7 } from 'uuid'

/** A node that was stopped for longer starts anew: its row may have been deleted (deleteHeartbeatsBefore). */
export const HEARTBEAT_RETENTION_SECONDS = 30 * 86_400
const OWNER_ONLY = 0o600

/** What a node (a folder DATA_DIR) knows of the database: how far it counted there, when, and on which lineage. */
export type Node = { id: string; beat: number; at: number; lineage?: string | undefined }

export type NodeFile = { read(now: number): Promise<Node>; write(node: Node): Promise<void> }

export const createNodeFile = (folder: string): NodeFile => {
  const file = join(folder, 'node.json')
  return {
    async read(now) {
      const text = await readFile(file, 'utf8').catch(() => undefined)
      try {
        const { id, beat, at, lineage } = JSON.parse(text ?? '') as Node
        const isRecent = now - at < HEARTBEAT_RETENTION_SECONDS * 1000
        if (typeof id === 'string' && Number.isInteger(beat) && isRecent) return { id, beat, at, lineage }
      } catch {
        // No file yet, or one that was cut off: the node begins anew.
      }
      return { id: uuidv7(), beat: 0, at: now }
    },

    async write(node) {
      await mkdir(folder, { recursive: true, mode: 0o700 })
      await writeFile(`${file}.draft`, JSON.stringify(node), { mode: OWNER_ONLY })
      await rename(`${file}.draft`, file)
    },
  }
}
