/** The pages of the broker over plain HTTP, as the browser of one person sees them: it keeps cookies. */
export const openAsBrowser = async (link: string) => {
  const cookies = new Map<string, string>()

  const request = async (url: string, init: RequestInit = {}): Promise<Response> => {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(url, { ...init, redirect: 'manual', headers: { cookie, ...init.headers } })
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      cookies.set(name, value)
    }
    return response
  }

  let response = await request(link)
  const location = response.headers.get('location')
  if (location !== null) response = await request(new URL(location, link).href)
  return {
    page: await response.text(),
    /** Sends a form of the page, as the page itself does. @returns where that leads. */
    async send(action: string, fields: URLSearchParams): Promise<string | null> {
      const origin = new URL(action).origin
      const headers = { origin, 'sec-fetch-site': 'same-origin' }
      return (await request(action, { method: 'POST', body: fields, headers })).headers.get('location')
    },
    /** @returns where the address leads. */
    open: async (url: string): Promise<string | null> => (await request(url)).headers.get('location'),
  }
}
