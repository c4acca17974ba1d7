import type { KeyKind } from './keys.ts'
import type { Target } from './load.ts'
import type { Lookup, UrlKind } from './mix.ts'
import type { ServerProcess } from './server-process.ts'
import { mixOf, type Scene } from './throughput.ts'

const KEY_KINDS: KeyKind[] = ['every', 'one', 'several', 'connections', 'prefixes']
const URL_KINDS: UrlKind[] = ['ssh', 'under_path']

/** The lookups of the mix by kind of key and of URL, each alone: no kind hides behind the others. */
export const kindsOf = (broker: ServerProcess, scene: Scene): Record<string, Target> => {
  const withoutRefreshes = { ...scene, ended: undefined }
  const only = (wanted: (lookup: Lookup) => boolean) => mixOf(broker, withoutRefreshes, wanted)
  return Object.fromEntries([
    ...KEY_KINDS.map((kind) => [`key ${kind}`, only(({ keyKind }) => keyKind === kind)]),
    ...URL_KINDS.map((kind) => [`url ${kind}`, only(({ urlKind }) => urlKind === kind)]),
    ['key every, url ssh', only(({ keyKind, urlKind }) => keyKind === 'every' && urlKind === 'ssh')],
    ['the largest organization', only(({ organization }) => organization === 0)],
  ])
}
