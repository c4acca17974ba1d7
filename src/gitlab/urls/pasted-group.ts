import { type NamedInstance, parseResourceUrl, readingsAt } from '../repository-url.ts'
import { readHttpPath } from './place-path.ts'
import { unwrapUrl } from './unwrap.ts'

/** Pure: a group or project as people write it. */
export type PastedGroup =
  | { path: string }
  /** elsewhere = its URL is of another instance. unreadable = it is no path of GitLab. */
  | { fault: 'elsewhere' | 'unreadable' }

/** What a path of GitLab consists of (lib/gitlab/path_regex.rb). */
const NAME = /^(?!\.{1,2}$)[\w.][\w.-]*$/
const LONGEST_PATH = 1000

/** `acme / platform` and `acme > platform`: how pages of GitLab show where a group is. */
const withoutSpaces = (text: string): string => text.replace(/\s*[/>›»]\s*/g, '/')

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** Of a URL that leaves its scheme out, the first part is the host. A group may have a dot in its name, too. */
const namesHost = (text: string, { base_url }: NamedInstance): boolean => {
  const { host, hostname } = new URL(base_url)
  const [first = ''] = text.toLowerCase().split('/')
  return first === host || first === hostname
}

const isUrl = (text: string, instance: NamedInstance): boolean =>
  /^[a-z][a-z0-9+.-]*:\/\//i.test(text) || /^[^/\s@]+@[^/\s@]+[:/]/.test(text) || namesHost(text, instance)

/** @param instance where the group is: its URLs name the group, too */
export const readGroup = (text: string, instance: NamedInstance): PastedGroup => {
  if (text.length > LONGEST_PATH) return { fault: 'unreadable' }
  const unwrapped = unwrapUrl(text)
  if (isUrl(unwrapped, instance)) {
    const resource = parseResourceUrl(unwrapped)
    if (resource === undefined) return { fault: 'unreadable' }
    const [reading] = readingsAt(resource, [instance])
    if (reading === undefined) return { fault: 'elsewhere' }
    return checked(reading.path)
  }
  const path = withoutSpaces(decoded(unwrapped)).replace(/^[@/\s]+/, '')
  const segments = path.split('/').filter(Boolean)
  const place = readHttpPath(segments)
  return checked(place.uncutPath ?? place.path)
}

const checked = (path: string): PastedGroup =>
  path !== '' && path.split('/').every((name) => NAME.test(name)) ? { path } : { fault: 'unreadable' }
