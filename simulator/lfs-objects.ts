import { createHash } from 'node:crypto'

/** The large files of all projects. */
export const createLfsObjects = () => {
  const objects = new Map<string, { projectId: number; content: Buffer }>()
  let storage: string | undefined
  return {
    /** @returns what is committed in place of the file. */
    add(projectId: number, text: string): { oid: string; pointer: string } {
      const content = Buffer.from(text)
      const oid = createHash('sha256').update(content).digest('hex')
      objects.set(oid, { projectId, content })
      const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${content.length}\n`
      return { oid, pointer }
    },
    find(projectId: number, oid: string): Buffer | undefined {
      const found = objects.get(oid)
      return found?.projectId === projectId ? found.content : undefined
    },
    /** As with object storage that is not proxied: a download leads to another host, which is followed by the oid. */
    storeAt(url: string): void {
      storage = url
    },
    storage: () => storage,
  }
}
