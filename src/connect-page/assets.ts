import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, join } from 'node:path'
import { sendText, toServedText } from '../http/served-text.ts'
import type { App } from '../http/server.ts'

const OWN = join(import.meta.dirname, 'assets')
const require = createRequire(import.meta.url)

const CSS = 'text/css; charset=utf-8'
const SCRIPT = 'text/javascript; charset=utf-8'

/** Served from our own origin; each is read once, from where it is installed. */
const FILES = {
  pico: [CSS, require.resolve('@picocss/pico/css/pico.min.css')],
  htmx: [SCRIPT, require.resolve('htmx.org/dist/htmx.min.js')],
  style: [CSS, join(OWN, 'page.css')],
  script: [SCRIPT, join(OWN, 'page.js')],
  icon: ['image/svg+xml', join(OWN, 'icon.svg')],
} as const

export type AssetName = keyof typeof FILES
export type Assets = Record<AssetName, string>

const FOR_EVER = 'public, max-age=31536000, immutable'
const HASH_LENGTH = 12

/** @returns the path of each asset; it holds a hash of the content, so that it may be cached for ever. */
export const registerAssets = (app: App, prefix: string): Assets => {
  const assets = Object.entries(FILES).map(([name, [type, file]]) => {
    const text = toServedText(type, readFileSync(file))
    return { name: name as AssetName, file: basename(file), text, hash: text.hash.slice(0, HASH_LENGTH) }
  })
  const byFile = new Map(assets.map((asset) => [asset.file, asset]))

  app.get<{ Params: { hash: string; file: string } }>(
    '/assets/:hash/:file',
    { exposeHeadRoute: true, schema: { hide: true } },
    async (request, reply) => {
      const asset = byFile.get(request.params.file)
      if (!asset) return reply.callNotFound()
      // While replicas of two versions run, a page of one may ask the other: it gets what there is, uncached.
      const isThis = asset.hash === request.params.hash
      return sendText(request, reply, asset.text, isThis ? FOR_EVER : 'no-cache')
    },
  )
  return Object.fromEntries(
    assets.map(({ name, file, hash }) => [name, `${prefix}/assets/${hash}/${file}`]),
  ) as Assets
}
