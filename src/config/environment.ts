import { readFileSync } from 'node:fs'

export type Environment = Record<string, string | undefined>

/** Reads variables, each as `NAME` or as `NAME_FILE` (a file that holds it); adds what is wrong to `faults`. */
export const createReader = (env: Environment, faults: string[]) => {
  const read = (name: string): string | undefined => {
    const value = env[name] || undefined
    const file = env[`${name}_FILE`] || undefined
    if (value !== undefined && file !== undefined)
      faults.push(`${name} and ${name}_FILE are both set: set one`)
    if (value !== undefined || file === undefined) return value
    try {
      return readFileSync(file, 'utf8').trim() || undefined
    } catch (error) {
      faults.push(`${name}_FILE cannot be read (${(error as NodeJS.ErrnoException).code ?? 'error'})`)
      return undefined
    }
  }

  const readInteger = (name: string, fallback: number, least: number, most: number): number => {
    const text = read(name)
    if (text === undefined) return fallback
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
    if (value >= least && value <= most) return value
    faults.push(`${name} must be a whole number from ${least} to ${most}`)
    return fallback
  }

  const readUrl = (name: string, protocols: string[]): URL | undefined => {
    const text = read(name)
    if (text === undefined) return undefined
    const url = URL.canParse(text) ? new URL(text) : undefined
    if (url && protocols.includes(url.protocol)) return url
    faults.push(
      `${name} must be a URL that starts with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}`,
    )
    return undefined
  }

  const readWebUrl = (name: string): string | undefined => {
    const url = readUrl(name, ['http:', 'https:'])
    if (url && (url.username || url.password || url.search || url.hash))
      faults.push(`${name} must be a plain URL, without credentials, query or fragment`)
    return url?.href.replace(/\/+$/, '')
  }

  return { read, readInteger, readUrl, readWebUrl }
}
