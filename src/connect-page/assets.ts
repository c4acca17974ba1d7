import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import fastifyStatic from '@fastify/static'
import type { App } from '../http/server.ts'

const OWN = join(import.meta.dirname, 'assets')
const require = createRequire(import.meta.url)

/** Served from our own origin, straight from where they are installed. */
const FILES = {
  pico: require.resolve('@picocss/pico/css/pico.min.css'),
  htmx: require.resolve('htmx.org/dist/htmx.min.js'),
  style: join(OWN, 'page.css'),
  script: join(OWN, 'page.js'),
  icon: join(OWN, 'icon.svg'),
}

export type AssetName = keyof typeof FILES
export type Assets = Record<AssetName, string>

const A_YEAR_MS = 365 * 86_400_000

/** @returns the path of each asset; it holds a hash of the content, so that it may be cached for ever. */
export const registerAssets = async (app: App, prefix: string): Promise<Assets> => {
  const entries = Object.entries(FILES).map(([name, file]) => {
    const hash = createHash('sha256').update(readFileSync(file)).digest('base64url').slice(0, 12)
    return { name: name as AssetName, file, hash }
  })
  const byName = new Map(entries.map((entry) => [basename(entry.file), entry]))

  await app.register(fastifyStatic, { root: OWN, serve: false })
  app.get<{ Params: { hash: string; file: string } }>(
    '/assets/:hash/:file',
    { exposeHeadRoute: true, schema: { hide: true } },
    async (request, reply) => {
      const entry = byName.get(request.params.file)
      if (!entry) return reply.callNotFound()
      // While replicas of two versions run, a page of one may ask the other: it gets what there is, uncached.
      const isThis = entry.hash === request.params.hash
      return reply.sendFile(basename(entry.file), dirname(entry.file), {
        cacheControl: isThis,
        immutable: isThis,
        maxAge: isThis ? A_YEAR_MS : 0,
      })
    },
  )
  return Object.fromEntries(
    entries.map(({ name, file, hash }) => [name, `${prefix}/assets/${hash}/${basename(file)}`]),
  ) as Assets
}
