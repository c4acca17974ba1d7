import type { Answer, RequestOptions } from './answer.ts'

/** A form of one of our pages: where it leads, and its hidden fields. */
export type PageForm = { action: string; fields: Record<string, string> }

const FORM = /<form[^>]*\bmethod="post"[^>]*\baction="([^"]*)"[^>]*>([\s\S]*?)<\/form>/g
const HIDDEN = /<input type="hidden" name="([^"]*)" value="([^"]*)">/g

/** Every form that a page shows. */
export const formsOf = (html: string): PageForm[] =>
  [...html.matchAll(FORM)].map(([, action = '', content = '']) => ({
    action,
    fields: Object.fromEntries(
      [...content.matchAll(HIDDEN)].map(([, name = '', value = '']): [string, string] => [name, value]),
    ),
  }))

/** The form that leads to a path. */
export const formTo = (html: string, path: string): PageForm => {
  const form = formsOf(html).find(({ action }) => action.endsWith(path))
  if (!form) throw new Error(`The page has no form that leads to ${path}`)
  return form
}

type Asked = { request(method: string, path: string, options?: RequestOptions): Promise<Answer> }

/** A browser without a face: keeps cookies, follows redirects of ours, and sends forms as our own page does. */
export const createBrowser = (broker: Asked, publicUrl: string) => {
  const cookies = new Map<string, string>()
  const { pathname } = new URL(publicUrl)
  const prefix = pathname.replace(/\/$/, '')

  const keep = (answer: Answer): Answer => {
    for (const line of answer.headers.getSetCookie()) {
      const [pair = ''] = line.split(';')
      const [name = ''] = pair.split('=')
      const value = pair.slice(name.length + 1)
      if (value === '') cookies.delete(name)
      else cookies.set(name, value)
    }
    return answer
  }
  const cookieHeader = () => [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  /** The path at which the broker listens, of an address as browsers see it. */
  const local = (address: string): string => {
    const url = new URL(address, publicUrl)
    return url.pathname.slice(url.pathname.startsWith(`${prefix}/`) ? prefix.length : 0) + url.search
  }

  const get = async (address: string, headers: Record<string, string> = {}): Promise<Answer> =>
    keep(
      await broker.request('GET', local(address), {
        key: null,
        headers: { cookie: cookieHeader(), ...headers },
      }),
    )

  /** Follows redirects as long as they lead to pages of ours. */
  const open = async (address: string): Promise<Answer> => {
    let answer = await get(address)
    for (let hops = 0; answer.status === 303 && hops < 5; hops += 1) {
      answer = await get(answer.headers.get('location') ?? '')
    }
    return answer
  }

  const send = async (
    address: string,
    fields: Record<string, string> = {},
    headers: Record<string, string> = {},
  ): Promise<Answer> =>
    keep(
      await broker.request('POST', local(address), {
        key: null,
        rawBody: new URLSearchParams(fields).toString(),
        headers: {
          cookie: cookieHeader(),
          'content-type': 'application/x-www-form-urlencoded',
          'sec-fetch-site': 'same-origin',
          origin: new URL(publicUrl).origin,
          ...headers,
        },
      }),
    )

  return {
    cookies,
    cookieHeader,
    get,
    open,
    send,
    /** Fills in the form of a page that leads to a path, and sends it. */
    submit(html: string, path: string, filledIn: Record<string, string> = {}) {
      const { action, fields } = formTo(html, path)
      return send(action, { ...fields, ...filledIn })
    },
  }
}

export type Browser = ReturnType<typeof createBrowser>
